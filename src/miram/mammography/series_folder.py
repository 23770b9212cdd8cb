"""A fetched series takes the place of an older folder, and nothing of the user's is lost."""

import logging
import shutil
from itertools import count
from pathlib import Path

from miram.mammography.decoding_errors import DecodingError
from miram.mammography.headers import read_header

log = logging.getLogger(__name__)

_ASIDE = ".replaced"


def put_in_place(fetched: Path, final: Path) -> None:
    """Rename the folder of a fetched series to its final name.

    An older folder of that name is an unfinished or unchecked download of the series. Its files
    that the fetched series has as well are dropped: those of the same name, and DICOM files of
    the same SOPInstanceUID. All others, such as notes, go to `<final>.replaced` beside it.

    Args:
        fetched: Folder with the checked files.
        final: Where they shall stand.

    Raises:
        OSError: A file cannot be moved or removed.
    """
    if final.exists():
        moved = _set_aside(fetched, final)
        shutil.rmtree(final)
        if moved:
            log.warning("%d files of %s that are not of its series are in %s", *moved)
    fetched.rename(final)


def _set_aside(fetched: Path, final: Path) -> tuple[int, Path, Path] | None:
    names = {path.name for path in fetched.iterdir()}
    instances = {_instance(path) for path in fetched.iterdir()} - {""}
    others = [
        path
        for path in sorted(final.iterdir())
        if path.is_dir() or (path.name not in names and _instance(path) not in instances)
    ]
    aside = final.with_name(final.name + _ASIDE)
    for path in others:
        aside.mkdir(exist_ok=True)
        path.rename(_free_name(aside / path.name))
    return (len(others), final, aside) if others else None


def _instance(path: Path) -> str:
    """Give the SOPInstanceUID of a file, empty for what is no DICOM file."""
    try:
        return read_header(path).sop_instance_uid
    except (DecodingError, OSError):
        return ""


def _free_name(path: Path) -> Path:
    """Give the path itself, or the first numbered one where it is taken."""
    names = (path.with_name(f"{path.stem} ({number}){path.suffix}") for number in count(2))
    return path if not path.exists() else next(name for name in names if not name.exists())
