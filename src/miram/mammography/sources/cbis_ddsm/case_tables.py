"""The four case-description tables of CBIS-DDSM (Lee et al., Sci Data 4:170177, 2017)."""

import re
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from miram.errors import MiramError
from miram.files import require_headings
from miram.mammography.decoding.headers import is_uid
from miram.mammography.lesion_table import LARGEST_NUMBER, leaking_patients
from miram.mammography.sources.files import files_under

CASE_DESCRIPTIONS = {
    ("mass", "train"): "mass_case_description_train_set.csv",
    ("mass", "test"): "mass_case_description_test_set.csv",
    ("calcification", "train"): "calc_case_description_train_set.csv",
    ("calcification", "test"): "calc_case_description_test_set.csv",
}
_PATHS = {
    "image file path": "image_cell",
    "cropped image file path": "crop_cell",
    "ROI mask file path": "mask_cell",
}
_COLUMNS = {
    "patient_id": "patient_id",
    "left or right breast": "laterality",
    "image view": "view",
    "abnormality id": "abnormality_id",
    "assessment": "assessment",
    "pathology": "pathology",
    "subtlety": "subtlety",
    **_PATHS,
}
_DENSITY = ("breast density", "breast_density")
_LABELS = {
    "mass": {"mass shape": "mass_shape", "mass margins": "mass_margins"},
    "calcification": {"calc type": "calc_type", "calc distribution": "calc_distribution"},
}
_SAME_LABEL = {"LUCENT_CENTER": "LUCENT_CENTERED"}
_NUMBERS = {"abnormality_id", "assessment", "subtlety", "density"}
_NOT_GIVEN = {"", "N/A", "NA"}
_FOLDER = re.compile(
    r"(?:Mass|Calc)-(?:Training|Test)_(P_\d{5})_(?:LEFT|RIGHT)_(?:CC|MLO)(?:_[1-9]\d*)?", re.ASCII
)
_FILE_NAME = re.compile(r"[\w-]+\.dcm", re.ASCII)
_SHAPE = "<Mass|Calc>-<Training|Test>_P_NNNNN_<LEFT|RIGHT>_<CC|MLO>[_N]/<study>/<series>/N.dcm"
_FOLDER_WORDS = {"mass": "Mass", "calcification": "Calc", "train": "Training", "test": "Test"}


def find_case_descriptions(raw_root: Path) -> dict[tuple[str, str], Path]:
    """Find the case descriptions anywhere in a download, by (abnormality type, official split).

    A download of masses alone has two of the four. Of equal copies the first is given.

    Raises:
        MiramError: None of the tables is there, or one is there in two versions.
    """
    places: dict[str, list[Path]] = {name: [] for name in CASE_DESCRIPTIONS.values()}
    for path in files_under(raw_root):
        if path.name in places:
            places[path.name].append(path)
    found = {key: _only(places[name]) for key, name in CASE_DESCRIPTIONS.items() if places[name]}
    if not found:
        raise MiramError(
            f"no case-description table under {raw_root}: put the four files "
            f"({', '.join(CASE_DESCRIPTIONS.values())}) into {raw_root / 'csv'}"
        )
    return found


def _only(copies: list[Path]) -> Path:
    """Give the first of copies that hold the same, whatever their line ends."""
    first = copies[0]
    table = _read_text(first) if len(copies) > 1 else None
    for other in copies[1:]:
        if not _read_text(other).equals(table):
            raise MiramError(
                f"two versions of a case description: {first} and {other} differ; keep the one "
                "that TCIA publishes and move the other out of the raw folder"
            )
    return first


def read_case_descriptions(raw_root: Path) -> pd.DataFrame:
    """Read the case descriptions into one table, one row per lesion, labels normalized.

    Hyphenated labels become lists, LUCENT_CENTER becomes LUCENT_CENTERED, density 0 and empty
    cells become missing. `image_cell`, `crop_cell` and `mask_cell` hold the path cells, without
    the line feed that CBIS-DDSM leaves inside one of them.

    Raises:
        MiramError: A table is missing altogether, cannot be read, lacks a column, is there in
            two versions, or holds something else than a whole number where one must stand.
    """
    tables = [
        _read_one(path, abnormality_type, split)
        for (abnormality_type, split), path in find_case_descriptions(raw_root).items()
    ]
    lesions = pd.concat(tables, ignore_index=True)
    lesions["leaks"] = lesions["patient_id"].isin(leaking_patients(lesions))
    return lesions


def _read_one(path: Path, abnormality_type: str, split: str) -> pd.DataFrame:
    raw = _read_text(path)
    density = next((name for name in _DENSITY if name in raw), _DENSITY[0])
    names = {**_COLUMNS, density: "density", **_LABELS[abnormality_type]}
    missing = [name for name in names if name not in raw]
    if missing:
        raise MiramError(
            f"{path} has no column {missing[0]!r} (it has: {', '.join(raw.columns)}); "
            "is it the case-description table as TCIA publishes it, with commas between cells?"
        )
    for column, name in names.items():
        if name in _NUMBERS:
            raw[column] = whole_numbers(raw[column], path)
    table = raw[list(names)].rename(columns=names)
    # Densities run from 1 to 4 and subtleties from 1 to 5: a 0 stands for "not given".
    for name in ("density", "subtlety"):
        table[name] = table[name].where(table[name] != 0)
    for name in _LABELS[abnormality_type].values():
        table[name] = table[name].map(_split_labels)
    table.insert(0, "lesion_id", _lesion_ids(table, abnormality_type, split))
    return table.assign(abnormality_type=abnormality_type, official_split=split)


def _read_text(path: Path) -> pd.DataFrame:
    """Read a table as text, without the white space around its cells; a short row ends empty."""
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False).fillna("")
        require_headings(table)
    except (OSError, ValueError) as error:
        raise MiramError(
            f"{path} cannot be read as a table: {error}; take it as TCIA publishes it, in UTF-8 "
            "and with commas between cells"
        ) from error
    return table.apply(lambda values: values.str.strip())


def whole_numbers(cells: pd.Series, path: Path) -> pd.Series:
    """Read cells such as `16` or `16.0` as Int64, missing where nothing is given.

    Raises:
        MiramError: A cell holds something else; `path` is named.
    """
    numbers = pd.to_numeric(cells, errors="coerce")
    wrong = ~cells.isin(_NOT_GIVEN) & ~((numbers % 1 == 0) & (numbers.abs() <= LARGEST_NUMBER))
    if wrong.any():
        row = int(wrong.to_numpy().argmax())
        raise MiramError(
            f"{path}: {cells.iloc[row]!r} in the column {cells.name!r}, row {row + 1} below the "
            "heading, is no whole number; compare with the published table, or download it again"
        )
    return numbers.astype("Int64")


def _split_labels(cell: str) -> list[str] | None:
    labels = {_SAME_LABEL.get(label, label) for label in cell.split("-")}
    return sorted(labels - _NOT_GIVEN) or None


def _lesion_ids(table: pd.DataFrame, abnormality_type: str, split: str) -> pd.Series:
    prefix = f"{_FOLDER_WORDS[abnormality_type]}-{_FOLDER_WORDS[split]}_"
    # A missing number stays missing as text, and so would the whole name.
    names = ("laterality", "view", "abnormality_id")
    parts = (table[name].astype(str).fillna("") for name in names)
    return prefix + table["patient_id"].str.cat(parts, sep="_")


@dataclass(frozen=True)
class CbisPath:
    """What a path cell of the case descriptions says.

    `folder` is also the DICOM PatientID; `patient_id` such as P_00001 is the same in all tables;
    the series UID alone finds the file, since its name differs between layouts.
    """

    folder: str
    patient_id: str
    series_uid: str
    file_name: str


def parse_cbis_path(text: str) -> CbisPath:
    """Take apart a cell such as `Mass-Test_P_00016_LEFT_CC_1/<study>/<series>/000001.dcm`.

    Backslashes count as slashes: programs on Windows write them.

    Raises:
        MiramError: Naming the part that is malformed.
    """
    parts = text.strip().replace("\\", "/").split("/")
    if len(parts) != 4:
        raise _malformed(text, f"{len(parts)} parts instead of 4")
    folder, study, series, name = parts
    match = _FOLDER.fullmatch(folder)
    if match is None:
        raise _malformed(text, f"folder {folder!r}")
    for kind, uid in (("study", study), ("series", series)):
        if not is_uid(uid):
            raise _malformed(text, f"{kind} UID {uid!r}")
    if not _FILE_NAME.fullmatch(name):
        raise _malformed(text, f"file name {name!r}")
    return CbisPath(folder, match[1], series, name)


def _malformed(text: str, what: str) -> MiramError:
    return MiramError(f"{what} in the path {text.strip()!r}; expected {_SHAPE}")
