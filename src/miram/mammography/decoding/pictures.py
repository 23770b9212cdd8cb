"""Grey pictures: JPEG, as the Kaggle conversion of CBIS-DDSM has them, PNG, TIFF and others."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pyarrow as pa
from PIL import Image, ImageFile, UnidentifiedImageError

from miram.mammography.decoding.errors import DecodingError, DecodingFailure, failing_as
from miram.mammography.decoding.expendable import expendable
from miram.mammography.decoding.guards import check_size, open_file
from miram.mammography.decoding.views import Special

if TYPE_CHECKING:
    from tifffile import TiffPage

FORMATS = ("JPEG", "JPEG2000", "PNG", "PPM", "TIFF")
READ = "JPEG, JPEG 2000, PNG, PGM and TIFF"
_BROKEN = f"none of {READ} inside; download it again"
_TIFF_STARTS = (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")  # the last two are BigTIFF
_STARTS = (
    *(b"\xff\xd8\xff", b"\x89PNG"),
    *(kind + blank for kind in (b"P2", b"P5") for blank in (b" ", b"\t", b"\n", b"\r")),
    *(b"\xff\x4f\xff\x51", b"\x00\x00\x00\x0cjP  \r\n\x87\n"),
    *_TIFF_STARTS,
)
_BITS = {"1": 8, "L": 8, "I;16": 16, "I;16B": 16, "I;16L": 16, "I": 16, "F": 16}  # by Pillow's mode
_WHITE_IS_ZERO = 0
_PHOTOMETRIC_TAG, _SAMPLE_FORMAT_TAG = 262, 339  # TIFF 6.0
_UNSIGNED = 1
_WHITE = np.iinfo(np.uint16).max


class ImageFacts(NamedTuple):
    """What an image says of itself; a two-valued picture counts as 8 bits.

    The last two are as in `Header`, the kind of objects of modality MG alone; pictures say neither.
    """

    rows: int
    columns: int
    bits: int
    special: Special | None = None
    presentation_intent: str = ""


def is_picture_file(path: Path) -> bool:
    """Whether a file is a picture of one of `FORMATS`, by its first bytes.

    A dual-personality file, with a TIFF header in the preamble of its DICOM, is none.
    """
    with open_file(path) as file:
        start = file.read(132)
    return start.startswith(_STARTS) and not start.endswith(b"DICM")


def read_picture(path: Path, max_pixels: int) -> tuple[np.ndarray, tuple[str, ...]]:
    """Decode a grey picture and say what was applied to it.

    The pixels are (H, W) uint8 or uint16, bright is dense, in the full range of their type. Signed
    levels are moved up to begin at 0, and those of floating point in [0, 1] fill 16 bits.

    Raises:
        DecodingError: It is colored, has several pages or more than `max_pixels`, or is broken.
    """
    try:
        with Image.open(path, formats=FORMATS) as picture:
            check_size(path, picture.height, picture.width, 1, max_pixels)
            if _is_tifffiles(path, picture):
                return _read_tiff(path, max_pixels)
            _check_grey_page(path, picture)
            if picture.mode == "1":
                return np.asarray(picture.convert("L")), ()
            # Pillow turns white-is-zero pictures of 1 and 8 bits itself.
            turned = getattr(picture, "tag_v2", {}).get(_PHOTOMETRIC_TAG) == _WHITE_IS_ZERO
            if picture.mode in {"I", "F"}:
                return _in_16_bits(path, np.asarray(picture), turned)
            pixels = _pixels_of(picture)
            if pixels.dtype.itemsize == 2 and turned:
                return (_WHITE - pixels).astype(np.uint16), ("invert",)
            return pixels.astype(pixels.dtype.newbyteorder("="), copy=False), ()
    except (DecodingError, MemoryError):
        raise
    except Image.DecompressionBombError as error:
        raise DecodingError(DecodingFailure.TOO_LARGE, path, str(error)) from error
    except UnidentifiedImageError as error:
        if _is_tiff(path):
            return _read_tiff(path, max_pixels)
        raise DecodingError(DecodingFailure.UNREADABLE, path, _BROKEN) from error
    except Exception as error:  # see `failing_as`
        cut = "truncated" in str(error).lower()
        code = DecodingFailure.TRUNCATED if cut else DecodingFailure.UNDECODABLE
        raise DecodingError(code, path, f"{type(error).__name__}: {error}") from error


@expendable
def picture_facts(path: str | Path) -> ImageFacts:
    """Read size and depth of a grey picture from its header alone.

    Raises:
        DecodingError: There is no such file, it is none of `FORMATS`, or it is colored.
    """
    path = Path(path)
    with failing_as(DecodingFailure.UNREADABLE, path):
        try:
            with Image.open(path, formats=FORMATS) as picture:
                _check_grey_page(path, picture)
                return ImageFacts(picture.height, picture.width, _BITS[picture.mode])
        except FileNotFoundError as error:
            raise DecodingError(DecodingFailure.NOT_FOUND, path, "no such file") from error
        except UnidentifiedImageError as error:
            if not _is_tiff(path):
                raise DecodingError(DecodingFailure.UNREADABLE, path, _BROKEN) from error
        with _tiff_page(path) as page:
            return ImageFacts(page.shape[0], page.shape[1], 16)


def read_thumbnail_of_picture(path: Path, size: int) -> np.ndarray:
    """Decode a picture to at least `size` pixels along each edge: (h, w) float64 in [0, 1]."""
    with (
        failing_as(DecodingFailure.UNDECODABLE, path),
        Image.open(path, formats=FORMATS) as picture,
    ):
        picture.draft("L", (size, size))
        return np.asarray(picture.convert("L")) / 255


def _pixels_of(picture: ImageFile.ImageFile) -> np.ndarray:
    """Decode a picture; that of a JPEG becomes an array without being copied.

    `np.asarray` copies every pixel twice, which takes a fifth of the time of decoding a JPEG.
    """
    if picture.format != "JPEG":  # pixels of others may be the mapped file and change with it
        return np.asarray(picture)
    # Arrow takes over one piece of memory, but Pillow splits large pictures by default.
    Image.core.set_use_block_allocator(1)
    try:
        picture.load()
    finally:
        Image.core.set_use_block_allocator(0)
    return pa.array(picture).to_numpy(zero_copy_only=True).reshape(picture.height, picture.width)


def _check_grey_page(path: Path, picture: ImageFile.ImageFile) -> None:
    if (pages := getattr(picture, "n_frames", 1)) > 1:
        raise _several_pages(path, pages)
    if picture.mode not in _BITS:
        detail = f"Pillow mode {picture.mode}: not a grey picture; convert it to one channel"
        raise DecodingError(DecodingFailure.COLOR, path, detail)


def _several_pages(path: Path, pages: int) -> DecodingError:
    detail = f"{pages} pages; one image is expected"
    return DecodingError(DecodingFailure.MULTI_FRAME, path, detail)


def _in_16_bits(path: Path, values: np.ndarray, turned: bool) -> tuple[np.ndarray, tuple[str, ...]]:
    """Bring grey levels of any type to uint16 in their order, or reversed; say how."""
    levels, transforms = _to_16_bits(path, values)
    return (levels.max() - levels, (*transforms, "invert")) if turned else (levels, transforms)


def _to_16_bits(path: Path, values: np.ndarray) -> tuple[np.ndarray, tuple[str, ...]]:
    low, high = values.min(), values.max()
    if values.dtype.kind == "f":
        if low >= 0 and high <= 1:
            return np.rint(values * _WHITE).astype(np.uint16), ("to_16_bits",)
        if not (np.isfinite(values).all() and (values == np.rint(values)).all()):
            detail = f"grey levels of floating point from {low:g} to {high:g}: bring them to [0, 1]"
            raise DecodingError(DecodingFailure.UNSUPPORTED_DEPTH, path, detail)
    black = min(int(low), 0)
    if int(high) - black > _WHITE:
        detail = f"grey levels from {low} to {high}: more than 16 bits per pixel"
        raise DecodingError(DecodingFailure.UNSUPPORTED_DEPTH, path, detail)
    moved: np.ndarray = (values.astype(np.int64) - black).astype(np.uint16)
    return moved, ("signed_to_unsigned",) if black else ()


def _is_tiff(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) in _TIFF_STARTS


def _is_tifffiles(path: Path, picture: ImageFile.ImageFile) -> bool:
    """Whether a TIFF holds signed numbers of a mode that Pillow reads as unsigned."""
    tags = getattr(picture, "tag_v2", {})
    formats = np.atleast_1d(tags.get(_SAMPLE_FORMAT_TAG, _UNSIGNED))
    signed_alike = {"I", "F"}
    return picture.mode in {*_BITS} - signed_alike and bool((formats != _UNSIGNED).any())


@contextmanager
def _tiff_page(path: Path) -> "Iterator[TiffPage]":
    """Open the one grey page of a TIFF of any kind of numbers, also a BigTIFF."""
    import tifffile  # most runs meet no such file

    with failing_as(DecodingFailure.UNDECODABLE, path), tifffile.TiffFile(path) as file:
        page = file.pages[0]
        if len(file.pages) > 1:
            raise _several_pages(path, len(file.pages))
        if not isinstance(page, tifffile.TiffPage) or len(page.shape) != 2:
            detail = f"{page.shape}: not a grey picture; convert it to one channel"
            raise DecodingError(DecodingFailure.COLOR, path, detail)
        yield page


def _read_tiff(path: Path, max_pixels: int) -> tuple[np.ndarray, tuple[str, ...]]:
    with _tiff_page(path) as page:
        rows, columns = page.shape
        check_size(path, rows, columns, 1, max_pixels)
        return _in_16_bits(path, page.asarray(), page.photometric == _WHITE_IS_ZERO)
