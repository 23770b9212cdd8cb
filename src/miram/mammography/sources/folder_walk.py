"""All files below a folder, in an order that does not depend on the file system."""

import os
from collections.abc import Iterator
from pathlib import Path

from miram.errors import MiramError


def files_under(root: Path) -> Iterator[Path]:
    """Give every file below a folder in sorted order, hidden ones left out.

    Links to folders are followed, since data often lie on another disk; a folder that was
    entered is not entered again, so that a link to its own parent ends.

    Args:
        root: The folder.

    Yields:
        The files, as paths that begin with `root`.

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


def _refuse(error: OSError) -> None:
    raise MiramError(f"cannot read {error.filename}: {error.strerror}; mend its access rights")
