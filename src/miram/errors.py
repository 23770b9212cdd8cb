"""Errors that a user can mend: each says what is wrong, where, and what to do."""

import errno
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_FULL = "make room there"
_CLOSED = "mend its access rights, or choose a folder you may write to (data_root of a study)"
_TAKEN = "give the path of a file in a folder that you may write to"
_DISK = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EFBIG), _FULL),
    **dict.fromkeys((errno.EROFS, errno.EACCES, errno.EPERM), _CLOSED),
}
_PATH = dict.fromkeys((errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.ENAMETOOLONG), _TAKEN)


class MiramError(Exception):
    """A problem of input, configuration or environment, stated in one readable message."""


class CannotWrite(MiramError, OSError):
    """The system refuses to write: the disk is full, or the folder is closed to this user."""


class Stopped(MiramError):
    """A command was stopped by Ctrl-C and resumes where it is given again."""

    exit_code = 128 + signal.SIGINT  # as shells have it


@contextmanager
def resumable() -> Iterator[None]:
    """Say after Ctrl-C that the same command resumes it.

    Raises:
        Stopped: Ctrl-C.
    """
    try:
        yield
    except KeyboardInterrupt:
        raise Stopped("stopped; the same command resumes from what is finished") from None


@contextmanager
def writing(path: str | Path) -> Iterator[None]:
    """Say in words why the system refuses to write a file or folder within the block.

    Raises:
        CannotWrite: It does.
    """
    try:
        yield
    except CannotWrite:
        raise
    except OSError as error:
        number = error.errno or 0
        remedy = (_DISK | _PATH).get(number)
        if remedy is None:
            raise
        raise CannotWrite(f"cannot write {path}: {os.strerror(number)}; {remedy}") from error


def causes(error: BaseException) -> Iterator[BaseException]:
    """An error and what caused it, Kedro's wrappers included."""
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__ or cause.__context__


def refusal(error: BaseException) -> str | None:
    """What a user can do about a full or closed disk; None for any other error."""
    if not isinstance(error, OSError) or error.errno not in _DISK:
        return None
    return f"{error.filename or 'a file'}: {os.strerror(error.errno)}; {_DISK[error.errno]}"
