"""What a file says of its one grey image, learned without decoding its pixels."""

from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from miram.mammography.decoding.errors import DecodingError, DecodingFailure
from miram.mammography.decoding.guards import LARGEST_FILE, check_file
from miram.mammography.decoding.headers import Header, read_header
from miram.mammography.decoding.pictures import is_picture

_PREAMBLE = 132
_DICOM_MARK = b"DICM"
_GREY = ("MONOCHROME1", "MONOCHROME2")
_PICTURE_FORMATS = ("JPEG", "PNG", "TIFF")
_PICTURE_BITS = {"1": 8, "L": 8, "I;16": 16, "I;16B": 16, "I;16L": 16}


@dataclass(frozen=True)
class ImageFacts:
    """Size and depth of an image.

    Attributes:
        rows: Height in pixels.
        columns: Width in pixels.
        bits: Bits stored per pixel; a two-valued picture counts as 8.
        header: The DICOM header, or None for a picture.
    """

    rows: int
    columns: int
    bits: int
    header: Header | None


def starts_like_dicom(path: Path) -> bool:
    """Tell by the mark behind its preamble whether a file is DICOM (PS3.10, 7.1)."""
    with path.open("rb") as file:
        return file.read(_PREAMBLE).endswith(_DICOM_MARK)


def image_facts(path: Path) -> ImageFacts:
    """Read size and depth of a file that must hold a single grey image.

    Args:
        path: A DICOM file of any name, or a JPEG, PNG or TIFF picture.

    Returns:
        What its header says.

    Raises:
        DecodingError: The file is missing, broken, or no single grey image; `code` says why.
    """
    check_file(path, LARGEST_FILE)
    with path.open("rb") as file:
        start = file.read(_PREAMBLE)
    # A dual-personality file carries a TIFF header in the preamble of its DICOM.
    if is_picture(start) and not start.endswith(_DICOM_MARK):
        return _picture_facts(path)
    try:
        header = read_header(path)
    except DecodingError as error:
        if start.endswith(_DICOM_MARK):
            raise
        detail = (
            "neither DICOM nor a JPEG, PNG or TIFF picture: convert it to one of these; if it "
            "shall be one, it is damaged"
        )
        raise DecodingError(DecodingFailure.NOT_DICOM, path, detail) from error
    check_single_grey(path, header)
    return ImageFacts(header.rows, header.columns, header.bits_stored, header)


def check_single_grey(path: Path, header: Header) -> None:
    """Refuse a DICOM object that is not one grey image of 8 or 16 bits.

    Args:
        path: The file, for the message.
        header: Its header.

    Raises:
        DecodingError: `no_pixel_data`, `multi_frame`, `color` or `unsupported_depth`.
    """
    if not header.rows or not header.columns:
        detail = f"a {header.modality or 'DICOM'} object without rows and columns is no image"
        raise DecodingError(DecodingFailure.NO_PIXEL_DATA, path, detail)
    if header.frames > 1:
        detail = f"{header.frames} frames, as of tomosynthesis; single images are expected"
        raise DecodingError(DecodingFailure.MULTI_FRAME, path, detail)
    if header.samples != 1 or header.photometric not in _GREY:
        detail = f"{header.photometric or 'no photometric interpretation'}: not monochrome"
        raise DecodingError(DecodingFailure.COLOR, path, detail)
    if header.bits_allocated not in (8, 16):
        detail = f"{header.bits_allocated} bits allocated; 8 or 16 are read"
        raise DecodingError(DecodingFailure.UNSUPPORTED_DEPTH, path, detail)


def _picture_facts(path: Path) -> ImageFacts:
    try:
        with Image.open(path, formats=_PICTURE_FORMATS) as picture:
            size, mode = (picture.height, picture.width), picture.mode
    # Pillow lets many kinds of error out on malformed files; each must become an audit row.
    except Exception as error:
        detail = f"{type(error).__name__}: {error}"
        raise DecodingError(DecodingFailure.UNREADABLE, path, detail) from error
    if mode not in _PICTURE_BITS:
        detail = f"Pillow mode {mode}: not a grey picture of 8 or 16 bits; convert it"
        raise DecodingError(DecodingFailure.COLOR, path, detail)
    return ImageFacts(*size, _PICTURE_BITS[mode], None)
