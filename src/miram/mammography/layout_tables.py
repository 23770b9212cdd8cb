"""Two tables that tell which file is what: NBIA Retriever's metadata and Kaggle's dicom_info."""

from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import pandas as pd

from miram.errors import MiramError

_SERIES = "Series UID"
_LOCATION = "File Location"
_INFO_COLUMNS = (
    "image_path",
    "SeriesInstanceUID",
    "SeriesDescription",
    "BitsAllocated",
    "PatientID",
    "Rows",
    "Columns",
)


@dataclass(frozen=True)
class ImageInfo:
    """What Kaggle's `dicom_info.csv` keeps of the DICOM header behind a JPEG.

    Attributes:
        series_uid: Series instance UID.
        description: SeriesDescription, empty in 566 rows.
        bits_allocated: Of the DICOM file, 8 or 16; 0 where unknown.
        patient_id: The CBIS-DDSM folder name.
        rows: Height, 0 where unknown.
        columns: Width, 0 where unknown.
    """

    series_uid: str
    description: str
    bits_allocated: int
    patient_id: str
    rows: int
    columns: int


def image_key(path: str | Path) -> str:
    """Give `<SeriesUID>/<name>`, which names a Kaggle JPEG wherever its folder was put."""
    pure = PurePosixPath(path)
    return f"{pure.parent.name}/{pure.name}"


def read_dicom_info(path: Path) -> dict[str, ImageInfo]:
    """Read Kaggle's header table.

    Args:
        path: A `dicom_info.csv`; all columns but `image_path` may be missing.

    Returns:
        One entry per JPEG, by `image_key`.

    Raises:
        MiramError: If the table cannot be read, has no `image_path` column, or holds a text
            where a number must stand.
    """
    table = _read(path, "image_path").reindex(columns=list(_INFO_COLUMNS), fill_value="")
    for name in ("BitsAllocated", "Rows", "Columns"):
        table[name] = _whole_numbers(table[name], path)
    return {
        image_key(image): ImageInfo(
            series_uid=series.strip(),
            description=description.strip(),
            bits_allocated=bits,
            patient_id=patient.strip(),
            rows=rows,
            columns=columns,
        )
        for image, series, description, bits, patient, rows, columns in table.itertuples(
            index=False, name=None
        )
        if image
    }


def read_retriever_metadata(path: Path) -> dict[Path, set[str]]:
    """Read the `metadata.csv` that the NBIA Data Retriever writes beside its folders.

    Args:
        path: The table; `File Location` is relative to its folder, with either slash.

    Returns:
        The series UIDs of each folder, more than one where two series were put together.
        Empty for another program's `metadata.csv`.

    Raises:
        MiramError: If the table cannot be read.
    """
    table = _read(path)
    folders: dict[Path, set[str]] = {}
    if not {_SERIES, _LOCATION} <= set(table.columns):
        return folders
    for series, location in zip(table[_SERIES], table[_LOCATION], strict=True):
        if series and location:
            relative = PurePosixPath(location.strip().replace("\\", "/"))
            folders.setdefault(path.parent / relative, set()).add(series.strip())
    return folders


def _read(path: Path, required: str | None = None) -> pd.DataFrame:
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False, encoding_errors="replace")
    except (OSError, ValueError) as error:
        raise MiramError(f"{path} cannot be read as a table: {error}; download it again") from error
    table.columns = [str(name).strip() for name in table.columns]
    if required is not None and required not in table.columns:
        raise MiramError(f"{path} has no column {required}; is it the table of the Kaggle set?")
    return table


def _whole_numbers(cells: pd.Series, path: Path) -> pd.Series:
    """Read numbers such as `16` or `16.0`; an empty cell is 0, which means unknown."""
    cells = cells.str.strip()
    numbers = pd.to_numeric(cells.where(cells != "", "0"), errors="coerce")
    wrong = ~(numbers % 1 == 0)
    if wrong.any():
        row = int(wrong.to_numpy().argmax())
        raise MiramError(
            f"{path}: {cells.iloc[row]!r} in the column {cells.name}, row {row + 1} below the "
            "heading, is no whole number; download the table again"
        )
    return numbers.astype(int)
