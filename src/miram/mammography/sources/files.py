"""Files below a folder of raw data: walked in a fixed order, their headers read once."""

import os
from collections.abc import Iterator
from pathlib import Path

from miram.errors import MiramError
from miram.mammography.decoding.errors import DecodingError
from miram.mammography.decoding.headers import ImageFacts, image_facts

DICOM_SUFFIXES = {".dcm", ".dicom", ".dic", ".ima"}
PICTURE_SUFFIXES = {".jpg", ".jpeg", ".png", ".tif", ".tiff", ".pgm", ".jp2", ".j2k"}
ARCHIVE_SUFFIXES = {".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".zst", ".7z", ".rar"}
# Images all the same, in formats that none of the readers opens.
OTHER_IMAGE_SUFFIXES = {
    ".bmp", ".gif", ".mha", ".mhd", ".nii", ".npy", ".nrrd", ".webp",
}  # fmt: skip


OTHER_FILE = "not DICOM inside; an image must be converted to it"


def files_under(root: Path) -> Iterator[Path]:
    """Give every file below a folder in sorted order, hidden ones left out.

    Links to folders are followed, since data often lie on another disk; a folder that was
    entered is not entered again, so that a link to its own parent ends.

    Raises:
        MiramError: There is no such folder, or a part of it cannot be read.
    """
    if not root.is_dir():
        raise MiramError(f"no folder {root}: put the data there or name another raw folder")
    entered: set[tuple[int, int]] = set()
    for folder, subfolders, names in os.walk(root, onerror=_refuse, followlinks=True):
        status = Path(folder).stat()
        if (status.st_dev, status.st_ino) in entered:
            subfolders.clear()
            continue
        entered.add((status.st_dev, status.st_ino))
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        for name in sorted(names):
            if not name.startswith("."):
                yield Path(folder, name)


def is_utf8(name: str) -> bool:
    """Whether a name can stand in a table: on Linux the name of a file may be any bytes."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _refuse(error: OSError) -> None:
    raise MiramError(f"cannot read {error.filename}: {error.strerror}; mend its access rights")


def facts_or_error(path: Path) -> ImageFacts | DecodingError:
    """Give size and depth of an image, or why it cannot be read."""
    try:
        return image_facts(path)
    except DecodingError as error:
        return error


def same_shape(rows: int, columns: int, image: ImageFacts, tolerance: float) -> bool:
    """Whether a mask has the shape of its image: one scale in both axes, within `tolerance`."""
    return abs((image.rows / rows) / (image.columns / columns) - 1) <= tolerance
