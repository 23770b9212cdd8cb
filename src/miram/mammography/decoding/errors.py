"""Why a file could not become an image: one short code per reason, fit for an audit row."""

from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path

from miram.errors import MiramError


class DecodingFailure(StrEnum):
    """The closed list of reasons; the value is what the audit shows."""

    NOT_FOUND = "not_found"
    EMPTY = "empty"
    NOT_DICOM = "not_dicom"
    NO_PIXEL_DATA = "no_pixel_data"
    INCOMPLETE_HEADER = "incomplete_header"
    TRUNCATED = "truncated"
    UNSUPPORTED_TRANSFER_SYNTAX = "unsupported_transfer_syntax"
    UNSUPPORTED_DEPTH = "unsupported_depth"
    UNDECODABLE = "undecodable"
    MULTI_FRAME = "multi_frame"
    COLOR = "color"
    SEGMENTATION = "segmentation"
    NO_SUCH_VOI = "no_such_voi"
    BAD_LOOKUP_TABLE = "bad_lookup_table"
    TOO_LARGE = "too_large"
    TOO_SLOW = "too_slow"
    UNREADABLE = "unreadable"


class DecodingError(MiramError):
    """A file that cannot be read as one monochrome image: `detail` says how to mend it.

    All arguments are kept as `args`, so that the error survives pickling by a worker process.
    """

    def __init__(self, code: DecodingFailure, path: str | Path, detail: str) -> None:
        """Keep the reason, the file and the explanation."""
        super().__init__(code, path, detail)
        self.code = code
        self.path = Path(path)
        self.detail = detail

    def __str__(self) -> str:
        """Give `file: explanation (code)`."""
        return f"{self.path}: {self.detail} ({self.code})"


@contextmanager
def failing_as(code: DecodingFailure, path: Path, before: str = "") -> Iterator[None]:
    """Turn what a library raises on a malformed file into a `DecodingError`.

    Decoders let many kinds of error out; each must become an audit row, and none may end a run over
    thousands of files.
    """
    try:
        yield
    except (DecodingError, MemoryError):
        raise
    except Exception as error:
        detail = f"{before}{type(error).__name__}: {' '.join(str(error).split())}"
        raise DecodingError(code, path, detail) from error
