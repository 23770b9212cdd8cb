"""The path cells of the CBIS-DDSM case descriptions, taken apart."""

import re
from dataclasses import dataclass
from typing import Literal

from miram.errors import MiramError

_UID_PATTERN = r"(?:0|[1-9]\d*)(?:\.(?:0|[1-9]\d*))+"
_LONGEST_UID = 64  # DICOM PS3.5, 9.1
_UID = re.compile(_UID_PATTERN, re.ASCII)
_FOLDER = re.compile(
    r"(Mass|Calc)-(Training|Test)_(P_\d{5})_(LEFT|RIGHT)_(CC|MLO)(?:_([1-9]\d*))?", re.ASCII
)
# Some mask headers keep `P_00562_LEFT_CC_2.dcm` as the patient id.
_ABNORMALITY = re.compile(r"(?:^|_)P_\d{5}_(?:LEFT|RIGHT)_(?:CC|MLO)(_[1-9]\d*)?(?:\.dcm)?", re.A)
_FILE_NAME = re.compile(r"[\w-]+\.dcm", re.ASCII)
_SHAPE = "<Mass|Calc>-<Training|Test>_P_NNNNN_<LEFT|RIGHT>_<CC|MLO>[_N]/<study>/<series>/N.dcm"


@dataclass(frozen=True)
class CbisPath:
    """One path of the case descriptions.

    Attributes:
        kind: Mass or Calc.
        split: Official split of the abnormality type, Training or Test.
        patient_id: For example P_00001; the same in both types and splits.
        laterality: LEFT or RIGHT.
        view: CC or MLO.
        abnormality_id: From 1; None for a full image.
        study_uid: Study instance UID.
        series_uid: Series instance UID; it alone finds the file.
        file_name: Number in the NBIA layout; not to be relied on.
    """

    kind: Literal["Mass", "Calc"]
    split: Literal["Training", "Test"]
    patient_id: str
    laterality: Literal["LEFT", "RIGHT"]
    view: Literal["CC", "MLO"]
    abnormality_id: int | None
    study_uid: str
    series_uid: str
    file_name: str

    @property
    def folder(self) -> str:
        """The first part of the path, which CBIS-DDSM also uses as DICOM PatientID."""
        suffix = "" if self.abnormality_id is None else f"_{self.abnormality_id}"
        view = f"{self.patient_id}_{self.laterality}_{self.view}"
        return f"{self.kind}-{self.split}_{view}{suffix}"

    def __str__(self) -> str:
        """Give the path back as the table has it, without the line feed."""
        return f"{self.folder}/{self.study_uid}/{self.series_uid}/{self.file_name}"


def parse_cbis_path(text: str) -> CbisPath:
    """Take a path cell apart.

    Args:
        text: A cell such as `Mass-Test_P_00016_LEFT_CC_1/<study>/<series>/000001.dcm`; white
            space around it, like the line feed in one cell of every row, is dropped.

    Returns:
        Its parts.

    Raises:
        MiramError: Naming the part that is malformed.
    """
    parts = text.strip().split("/")
    if len(parts) != 4:
        raise _malformed(text, f"{len(parts)} parts instead of 4")
    folder, study, series, name = parts
    match = _FOLDER.fullmatch(folder)
    if match is None:
        raise _malformed(text, f"folder {folder!r}")
    if not is_uid(study):
        raise _malformed(text, f"study UID {study!r}")
    if not is_uid(series):
        raise _malformed(text, f"series UID {series!r}")
    if not _FILE_NAME.fullmatch(name):
        raise _malformed(text, f"file name {name!r}")
    kind, split, patient, laterality, view, abnormality = match.groups()
    return CbisPath(
        kind=kind,  # type: ignore[arg-type]
        split=split,  # type: ignore[arg-type]
        patient_id=patient,
        laterality=laterality,  # type: ignore[arg-type]
        view=view,  # type: ignore[arg-type]
        abnormality_id=int(abnormality) if abnormality else None,
        study_uid=study,
        series_uid=series,
        file_name=name,
    )


def is_uid(text: str) -> bool:
    """Tell whether a text is a DICOM UID: numbers without leading zeros, joined by dots."""
    return len(text) <= _LONGEST_UID and _UID.fullmatch(text) is not None


def names_abnormality(folder: str) -> bool | None:
    """Tell whether a CBIS-DDSM folder name or PatientID belongs to one abnormality.

    Args:
        folder: For example `Calc-Test_P_00038_LEFT_CC_1`, or `P_00562_LEFT_CC_2.dcm`.

    Returns:
        True with an abnormality number (crops and masks), False without (full images), None
        where the text is no such name.
    """
    match = _ABNORMALITY.search(folder.strip())
    if match is None or match.end() != len(folder.strip()):
        return None
    return match.group(1) is not None


def _malformed(text: str, what: str) -> MiramError:
    return MiramError(f"{what} in the path {text.strip()!r}; expected {_SHAPE}")
