"""Files that appear whole or not at all, and the versions of a file."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


@contextmanager
def atomic_path(path: str | Path, mode: int | None = None) -> Iterator[Path]:
    """Give a temporary path that becomes `path` when the block ends without an error.

    The temporary file stands in the same folder, made where missing, so that the final rename is
    atomic. It is flushed to the disk before the rename and removed after an error. `mode` are its
    permissions, where they are not those of any new file.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=path.suffix, dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb+") as written:
            os.fsync(written.fileno())
        temporary.chmod(0o666 & ~_umask() if mode is None else mode)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def harmless_cell(value: Any) -> Any:
    """A cell of a CSV that no spreadsheet program takes for a formula; numbers stay as they are.

    A text that begins like a formula gets an apostrophe before it. Doing it twice changes nothing.
    """
    if not isinstance(value, str) or not value.startswith(_FORMULA_STARTS):
        return value
    try:
        float(value)
    except ValueError:
        return f"'{value}"
    return value


def versions_of(path: str | Path) -> list[Path]:
    """The finished files of a versioned dataset, a folder per timestamp, the newest last."""
    path = Path(path)
    return sorted(path.glob(f"*/{path.name}"))


def newest_version(path: str | Path) -> Path:
    """The file at `path`; of a versioned dataset, which is a folder of that name, its newest."""
    path = Path(path)
    versions = versions_of(path) if path.is_dir() else []
    return versions[-1] if versions else path


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current
