"""Grey pictures in JPEG, PNG or TIFF, as the Kaggle conversion of CBIS-DDSM has them."""

from pathlib import Path

import numpy as np
import pyarrow as pa
from PIL import Image, ImageFile, UnidentifiedImageError

from miram.mammography.decoding.errors import DecodingError, DecodingFailure
from miram.mammography.decoding.expendable import expendable
from miram.mammography.decoding.guards import check_size, open_file

FORMATS = ("JPEG", "PNG", "TIFF")
_STARTS = (b"\xff\xd8\xff", b"\x89PNG", b"II*\x00", b"MM\x00*")
_WHITE_IS_ZERO = 0
_PHOTOMETRIC_TAG = 262  # TIFF 6.0, PhotometricInterpretation


def is_picture_file(path: Path) -> bool:
    """Whether a file is a JPEG, PNG or TIFF picture, by its first bytes.

    A dual-personality file, with a TIFF header in the preamble of its DICOM, is none.
    """
    with open_file(path) as file:
        start = file.read(132)
    return start.startswith(_STARTS) and not start.endswith(b"DICM")


def read_picture(path: Path, max_pixels: int) -> tuple[np.ndarray, tuple[str, ...]]:
    """Decode a grey JPEG, PNG or TIFF picture and say what was applied to it.

    The pixels are (H, W) uint8 or uint16, bright is dense, in the full range of their type.

    Raises:
        DecodingError: It is colored, has several pages or more than `max_pixels`, or is broken.
    """
    try:
        with Image.open(path, formats=FORMATS) as picture:
            check_size(path, picture.height, picture.width, 1, max_pixels)
            _check_kind(path, picture)
            if picture.mode == "1":
                return np.asarray(picture.convert("L")), ()
            pixels = _pixels_of(picture)
            # Pillow turns 8-bit white-is-zero pictures itself, but not 16-bit ones.
            if pixels.dtype.itemsize == 2 and _is_white_zero(picture):
                return (np.iinfo(np.uint16).max - pixels).astype(np.uint16), ("invert",)
            return pixels.astype(pixels.dtype.newbyteorder("="), copy=False), ()
    except (DecodingError, MemoryError):
        raise
    except Image.DecompressionBombError as error:
        raise DecodingError(DecodingFailure.TOO_LARGE, path, str(error)) from error
    except UnidentifiedImageError as error:
        detail = "neither JPEG, PNG nor TIFF inside"
        raise DecodingError(DecodingFailure.UNREADABLE, path, detail) from error
    # Pillow lets many kinds of error out on malformed files; each must become an audit row.
    except Exception as error:
        cut = "truncated" in str(error).lower()
        code = DecodingFailure.TRUNCATED if cut else DecodingFailure.UNDECODABLE
        raise DecodingError(code, path, f"{type(error).__name__}: {error}") from error


@expendable
def picture_size(path: str | Path) -> tuple[int, int]:
    """Read (rows, columns) of a picture from its header alone; DecodingError where it is none."""
    path = Path(path)
    try:
        with Image.open(path, formats=FORMATS) as picture:
            return picture.height, picture.width
    except FileNotFoundError as error:
        raise DecodingError(DecodingFailure.NOT_FOUND, path, "no such file") from error
    except Exception as error:
        detail = f"{type(error).__name__}: {error}"
        raise DecodingError(DecodingFailure.UNREADABLE, path, detail) from error


def read_thumbnail_of_picture(path: Path, size: int) -> np.ndarray:
    """Decode a picture to at least `size` pixels along each edge: (h, w) float64 in [0, 1]."""
    try:
        with Image.open(path, formats=FORMATS) as picture:
            picture.draft("L", (size, size))
            return np.asarray(picture.convert("L")) / 255
    except MemoryError:
        raise
    except Exception as error:
        detail = f"{type(error).__name__}: {error}"
        raise DecodingError(DecodingFailure.UNDECODABLE, path, detail) from error


def _pixels_of(picture: ImageFile.ImageFile) -> np.ndarray:
    """Decode a picture; that of a JPEG becomes an array without being copied.

    `np.asarray` copies every pixel twice, which takes a fifth of the time of decoding a JPEG.
    Pixels of other formats may be the mapped file itself and change with it.
    """
    if picture.format != "JPEG":
        return np.asarray(picture)
    # Arrow takes over one piece of memory, but Pillow splits large pictures by default.
    Image.core.set_use_block_allocator(1)
    try:
        picture.load()
    finally:
        Image.core.set_use_block_allocator(0)
    return pa.array(picture).to_numpy(zero_copy_only=True).reshape(picture.height, picture.width)


def _check_kind(path: Path, picture: ImageFile.ImageFile) -> None:
    if getattr(picture, "n_frames", 1) > 1:
        detail = f"{picture.n_frames} pages; one image is expected"  # type: ignore[attr-defined]
        raise DecodingError(DecodingFailure.MULTI_FRAME, path, detail)
    if picture.mode in {"I", "F"}:
        detail = f"Pillow mode {picture.mode}: more than 16 bits per pixel"
        raise DecodingError(DecodingFailure.UNSUPPORTED_DEPTH, path, detail)
    if picture.mode not in {"1", "L", "I;16", "I;16B", "I;16L"}:
        detail = f"Pillow mode {picture.mode}: not a grey picture; convert it to one channel"
        raise DecodingError(DecodingFailure.COLOR, path, detail)


def _is_white_zero(picture: ImageFile.ImageFile) -> bool:
    tags = getattr(picture, "tag_v2", {})
    return tags.get(_PHOTOMETRIC_TAG) == _WHITE_IS_ZERO
