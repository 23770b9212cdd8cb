"""Errors that a user can mend: each says what is wrong, where, and what to do."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_FULL = "make room there"
_CLOSED = "mend its access rights, or choose a folder you may write to (data_root of a study)"
_TAKEN = "give the path of a file in a folder that you may write to"
_REFUSALS = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EFBIG), _FULL),
    **dict.fromkeys((errno.EROFS, errno.EACCES, errno.EPERM), _CLOSED),
    **dict.fromkeys((errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.ENAMETOOLONG), _TAKEN),
}


class MiramError(Exception):
    """A problem of input, configuration or environment, stated in one readable message."""


class CannotWrite(MiramError, OSError):
    """The system refuses to write: the disk is full, or the folder is closed to this user."""


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
        if error.errno not in _REFUSALS:
            raise
        reason = error.strerror or str(error)
        raise CannotWrite(f"cannot write {path}: {reason}; {_REFUSALS[error.errno]}") from error
