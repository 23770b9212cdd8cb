"""Which files hold which DICOM series, in every layout that users have on disk.

A case description names a file by a path that exists in one layout only. The series UID is
the name that all layouts share, so files are indexed by it and never by number or name.
"""

import filecmp
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import pandas as pd

from miram.errors import MiramError
from miram.mammography.decoding.errors import DecodingError, DecodingFailure
from miram.mammography.decoding.headers import is_uid, read_header, starts_like_dicom
from miram.mammography.sources.cbis_ddsm.case_tables import whole_numbers
from miram.mammography.sources.files import (
    ARCHIVE_SUFFIXES,
    DICOM_SUFFIXES,
    OTHER_FILE,
    OTHER_IMAGE_SUFFIXES,
    PICTURE_SUFFIXES,
    files_under,
    is_utf8,
)

_SERIES = "Series UID"
_LOCATION = "File Location"
_RETRIEVER_TABLE = "metadata.csv"
_KAGGLE_TABLE = "dicom_info.csv"
_ARCS = 3


@dataclass(frozen=True)
class ImageInfo:
    """What Kaggle's `dicom_info.csv` keeps of the DICOM header behind a JPEG.

    The description is empty in 566 rows; unknown bits are 0; the patient id is the folder name.
    """

    description: str
    bits_allocated: int
    patient_id: str


@dataclass(frozen=True)
class UnplacedFile:
    """A file that could not be given to a series, with a code of the audit and the reason."""

    path: Path
    code: str
    detail: str


@dataclass(frozen=True)
class SeriesIndex:
    """The files of every series under a folder.

    Attributes:
        root: The folder.
        files: The image files of each series, by UID; both in sorted order.
        infos: What Kaggle's header table says of a file, by `image_key`.
        unplaced: Files whose series is unknown or that are held twice, each with its reason.
    """

    root: Path
    files: Mapping[str, tuple[Path, ...]]
    infos: Mapping[str, ImageInfo]
    unplaced: tuple[UnplacedFile, ...]


def image_key(path: str | Path) -> str:
    """`<SeriesUID>/<name>`, which names a Kaggle JPEG wherever its folder was put."""
    pure = PurePosixPath(str(path).replace("\\", "/"))
    return f"{pure.parent.name}/{pure.name}"


def index_series(root: Path) -> SeriesIndex:
    """Find the image files of every series under a folder, whatever the layout, also mixed.

    A folder named by a UID names the series of its files. For the descriptive folders of the NBIA
    Retriever its `metadata.csv` does, else the header of each file. Pictures outside of a folder
    named by a UID cannot be placed. Where a series is there both as DICOM and as JPEG, the DICOM
    files count; a copy with the same bytes in another folder counts once.

    Raises:
        MiramError: The folder does not exist, a part of it cannot be read, or Kaggle's table
            cannot. A `metadata.csv` that cannot be read is not needed, and listed as unplaced.
    """
    paths = list(files_under(root))
    folders: dict[Path, set[str]] = {}
    infos: dict[str, ImageInfo] = {}
    found: dict[str, list[Path]] = {}
    unplaced: list[UnplacedFile] = []
    for path in paths:
        if path.name == _RETRIEVER_TABLE:
            try:
                _read_retriever_metadata(path, folders)
            except MiramError as error:
                # Any program may have written it, and the headers say the same.
                detail = f"no readable table, so that the headers are read: {error.__cause__}"
                unplaced.append(UnplacedFile(path, "table_unreadable", detail))
        elif path.name == _KAGGLE_TABLE:
            infos.update(_read_dicom_info(path))
    for path in paths:
        placed = _place(path, folders)
        if isinstance(placed, str):
            found.setdefault(placed, []).append(path)
        elif placed is not None:
            unplaced.append(placed)
    files: dict[str, tuple[Path, ...]] = {}
    for series_uid in sorted(found):
        kept, doubled = _without_copies(series_uid, found[series_uid])
        files[series_uid] = tuple(kept)
        unplaced += doubled
    unplaced.sort(key=lambda file: str(file.path))
    return SeriesIndex(root, files, infos, tuple(unplaced))


def _read_dicom_info(path: Path) -> dict[str, ImageInfo]:
    """Read Kaggle's header table by `image_key`; all columns but `image_path` may be missing."""
    columns = ["image_path", "SeriesDescription", "BitsAllocated", "PatientID"]
    table = _read(path)
    if "image_path" not in table:
        raise MiramError(f"{path} has no column image_path; is it the table of the Kaggle set?")
    table = table.reindex(columns=columns, fill_value="")
    bits = whole_numbers(table["BitsAllocated"], path).fillna(0).astype(int)
    rows = table.assign(BitsAllocated=bits).itertuples(index=False, name=None)
    return {image_key(image): ImageInfo(*known) for image, *known in rows if image}


def _read_retriever_metadata(path: Path, folders: dict[Path, set[str]]) -> None:
    """Add the series of each folder (it may hold two) from a table of the NBIA Data Retriever."""
    table = _read(path)
    if not {_SERIES, _LOCATION} <= set(table.columns):
        return
    for series, location in zip(table[_SERIES], table[_LOCATION], strict=True):
        if series and location:
            relative = PurePosixPath(location.replace("\\", "/"))
            folders.setdefault(path.parent / relative, set()).add(series)


def _read(path: Path) -> pd.DataFrame:
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False, encoding_errors="replace")
    except (OSError, ValueError) as error:
        raise MiramError(f"{path} cannot be read as a table: {error}; download it again") from error
    table.columns = [str(name).strip() for name in table.columns]
    return table.fillna("").apply(lambda cells: cells.str.strip())


def _place(path: Path, folders: Mapping[Path, set[str]]) -> str | UnplacedFile | None:
    """Find the UID of the series of one file; None for what is no image."""
    suffix = path.suffix.lower()
    if not is_utf8(str(path)):
        return UnplacedFile(path, "name_not_utf8", "rename it")
    folder_is_uid = _names_series(path.parent)
    if suffix in ARCHIVE_SUFFIXES:
        return UnplacedFile(path, "archive", "unpack it; a download leaves it when interrupted")
    if suffix in PICTURE_SUFFIXES:
        if folder_is_uid:
            return path.parent.name
        return UnplacedFile(path, "no_series_uid", "a picture in a folder not named by its series")
    if suffix in OTHER_IMAGE_SUFFIXES:
        return UnplacedFile(path, "other_file", OTHER_FILE)
    try:
        # Names ending in a part of a UID have no suffix.
        nameless = not suffix or suffix[1:].isdigit()
        if suffix not in DICOM_SUFFIXES and not (nameless and starts_like_dicom(path)):
            return None
    except OSError as error:
        return UnplacedFile(path, DecodingFailure.UNREADABLE, str(error))
    if folder_is_uid:
        return path.parent.name
    # Two series whose UIDs end alike share a folder: then only the header distinguishes them.
    uids = folders.get(path.parent, set())
    if len(uids) == 1:
        return next(iter(uids))
    try:
        series_uid = read_header(path).series_uid
    except DecodingError as error:
        return UnplacedFile(path, error.code, error.detail)
    missing = UnplacedFile(path, "no_series_uid", "the header has no SeriesInstanceUID")
    return series_uid or missing


def _names_series(folder: Path) -> bool:
    # A folder called 1.0 or 2024.1 is a version or a date; real roots have several arcs.
    return folder.name.count(".") >= _ARCS and is_uid(folder.name)


def _without_copies(series_uid: str, paths: list[Path]) -> tuple[list[Path], list[UnplacedFile]]:
    """Leave out pictures beside DICOM files and equal files in other folders."""
    pictures = {path for path in paths if path.suffix.lower() in PICTURE_SUFFIXES}
    mixed = 0 < len(pictures) < len(paths)
    if not mixed and len({path.parent for path in paths}) == 1:
        return paths, []
    kept: list[Path] = []
    doubled: list[UnplacedFile] = []
    for path in paths:
        if mixed and path in pictures:
            detail = f"series {series_uid} is there as DICOM, which is preferred"
            doubled.append(UnplacedFile(path, "duplicate", detail))
            continue
        others = (other for other in kept if other.parent != path.parent)
        same = next((other for other in others if _same_bytes(other, path)), None)
        if same is None:
            kept.append(path)
        else:
            doubled.append(UnplacedFile(path, "duplicate", f"the same bytes as {same}"))
    return kept, doubled


def _same_bytes(path: Path, other: Path) -> bool:
    try:
        return filecmp.cmp(path, other, shallow=False)
    except OSError:  # one that cannot be read is no copy; reading it is reported elsewhere
        return False
