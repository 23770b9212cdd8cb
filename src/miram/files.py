"""Files that appear whole or not at all, what was written into them, and their versions."""

import hashlib
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from miram.errors import MiramError, writing

if TYPE_CHECKING:
    import pandas as pd

SUMS = ".sha256"  # in a folder: a line per file written there, as `sha256sum` prints them
RAW_SUMS = ".written-by-miram"  # the same of raw data that miram made, for all folders within
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


@contextmanager
def atomic_path(path: str | Path, mode: int | None = None) -> Iterator[Path]:
    """Give a temporary path that becomes `path` when the block ends without an error.

    The temporary file stands in the same folder, made where missing, so that the final rename is
    atomic. It is flushed to the disk before the rename and removed after an error. `mode` are its
    permissions, where they are not those of any new file.

    Raises:
        CannotWrite: The disk is full, or the folder is closed to this user.
    """
    path = Path(path)
    temporary = None
    try:
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary = _new_file_beside(path)
            yield temporary
            with temporary.open("rb+") as written:
                os.fsync(written.fileno())
            temporary.chmod(0o666 & ~_umask() if mode is None else mode)
            temporary.replace(path)
    finally:
        if temporary:
            temporary.unlink(missing_ok=True)


@contextmanager
def recorded_path(path: str | Path, mode: int | None = None) -> Iterator[Path]:
    """As `atomic_path`, and the folder's `.sha256` says what was written; `check` compares it."""
    path = Path(path)
    with atomic_path(path, mode) as temporary:
        yield temporary
        # Before the file has its name: wherever a process is killed, what is there is recorded.
        record(path.parent / SUMS, {path.name: file_sha256(temporary)})


def record(sums: Path, digests: Mapping[str, str]) -> None:
    """Add what is about to be written, sha256 by relative name, to a list of sums.

    Lines are only ever added: a file may be any that was once written under its name.
    """
    with sums.open("a", encoding="utf-8") as file:
        file.writelines(f"{digest}  {name}\n" for name, digest in digests.items())
        file.flush()
        os.fsync(file.fileno())


def recorded(sums: Path) -> dict[str, set[str]]:
    """The sums of a list, by relative name; of an older list without sums, the names alone."""
    found: dict[str, set[str]] = {}
    # A byte of the list itself may be damaged: that line then fits no file, or no sum.
    text = sums.read_text(encoding="utf-8", errors="replace") if sums.is_file() else ""
    for line in text.splitlines():
        digest, _, name = line.rpartition("  ")
        found.setdefault(name, set()).update([digest[-64:]] if digest else [])
    return found


def check(path: str | Path) -> None:
    """Refuse a file that is not what was written under its name; one without a record passes.

    A process hashes a file once, and again where its size or its time of change is another.

    Raises:
        MiramError: It has changed.
    """
    path = Path(path)
    if _changed(path, recorded(path.parent / SUMS).get(path.name, set())):
        raise _damaged(path, path.parent / SUMS)


def check_all(sums: Path) -> None:
    """As `check`, of every file that a list of sums names.

    Raises:
        MiramError: One has changed; the first is named.
    """
    for path in changed(sums):
        raise _damaged(path, sums)


def changed(sums: Path) -> Iterator[Path]:
    """The files of a list of sums that are there and are not what was written."""
    for name, digests in recorded(sums).items():
        if _changed(sums.parent / name, digests):
            yield sums.parent / name


def _changed(path: Path, digests: set[str]) -> bool:
    if not digests or not path.is_file():
        return False
    return _sha256_once(path.absolute(), state_of(path)) not in digests


def _damaged(path: Path, sums: Path) -> MiramError:
    return MiramError(
        f"{path} is damaged: it is not what was written there. Delete it and run again what made "
        "it; in a study `kedro run` with the same options makes what is missing and takes over "
        f"the rest. If you changed it on purpose, delete its lines in {sums}"
    )


def state_of(path: Path) -> tuple[int, int, int]:
    """By what a file is known to be the one of before: inode, size and time of change."""
    stat = path.stat()
    return stat.st_ino, stat.st_size, stat.st_mtime_ns


def file_sha256(path: Path) -> str:
    """Hash a file without holding it in memory."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@cache
def _sha256_once(path: Path, state: tuple[int, int, int]) -> str:
    return file_sha256(path)


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


def harmless_table(table: "pd.DataFrame") -> "pd.DataFrame":
    """A table to be written as CSV: its cells and its headings made harmless."""
    return table.map(harmless_cell).rename(columns=harmless_cell)


def require_headings(table: "pd.DataFrame") -> None:
    """Refuse a table just read from a CSV whose rows have more cells than it has headings.

    pandas takes the first cells of such rows for their names, and moves all others one to the left.

    Raises:
        ValueError: They have.
    """
    import pandas as pd

    if not isinstance(table.index, pd.RangeIndex):
        raise ValueError("its rows have more cells than its first line has headings")


def versions_of(path: str | Path) -> list[Path]:
    """The finished files of a versioned dataset, a folder per timestamp, the newest last."""
    path = Path(path)
    return sorted(path.glob(f"*/{path.name}"))


def newest_version(path: str | Path) -> Path:
    """The file at `path`; of a versioned dataset, which is a folder of that name, its newest."""
    path = Path(path)
    versions = versions_of(path) if path.is_dir() else []
    return versions[-1] if versions else path


def _new_file_beside(path: Path) -> Path:
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=path.suffix, dir=path.parent)
    os.close(handle)
    return Path(name)


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current
