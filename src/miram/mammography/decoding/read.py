"""One mammogram from any vendor's file: DICOM of every syntax, or a picture.

Every failure is a `DecodingError` with a short code, so that it becomes a row of the audit.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pydicom
from pydantic import Field
from pydicom.dataset import FileDataset
from pydicom.pixels import get_decoder, pixel_array
from pydicom.uid import (
    UID,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGExtended12Bit,
    RLELossless,
)

from miram.configuration import Config
from miram.mammography.decoding.errors import DecodingError, DecodingFailure, failing_as
from miram.mammography.decoding.expendable import expendable
from miram.mammography.decoding.guards import (
    LARGEST_FILE,
    check_codestream,
    check_file,
    check_inflated,
    check_size,
)
from miram.mammography.decoding.headers import GREY, Header, Photometric, read_header
from miram.mammography.decoding.pictures import (
    is_picture_file,
    read_picture,
    read_thumbnail_of_picture,
)
from miram.mammography.decoding.voi_lut import (
    PADDING,
    BadLookupTableError,
    GreyTable,
    NoSuchVoiError,
    Remark,
    Voi,
    WordFormat,
    frame_attributes,
    grey_table,
)

__all__ = [
    "DecodedImage",
    "DecodingConfig",
    "DecodingError",
    "DecodingFailure",
    "Header",
    "Photometric",
    "Remark",
    "read_frames",
    "read_header",
    "read_image",
    "read_thumbnail",
]

_GDCM = "gdcm"
_SEGMENTATION_CLASSES = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")


class DecodingConfig(Config):
    """How files are decoded, and what is too large to try."""

    voi: Voi = Field(
        "auto",
        description="grey-level view of a DICOM file: its LUT if it is whole, else its window, "
        "else none (auto); or insist on one",
    )
    voi_index: int = Field(0, ge=0, description="which of several windows or LUTs, from 0")
    frames: Literal["refuse", "first", "middle"] = Field(
        "refuse",
        description="what read_image does with a multi-frame file that it is given itself; "
        "ingest leaves such files out before",
    )
    max_pixels: int = Field(80_000_000, ge=1, description="largest rows x columns of one frame")
    max_frames: int = Field(512, ge=1, description="largest number of frames")
    max_bytes: int = Field(
        LARGEST_FILE,
        ge=1,
        le=LARGEST_FILE,
        description="largest file in bytes, also when inflated; no header of a larger one is read",
    )


@dataclass(frozen=True)
class DecodedImage:
    """One monochrome image, bright is dense (MONOCHROME2).

    Attributes:
        pixels: (H, W) uint8 or uint16, read-only; 0 is black and `max_value` is white.
        max_value: Greatest grey level: 2^BitsStored - 1 where the stored values were kept,
            65535 after a window, 2^n - 1 after a lookup table of n bits. Divide by it.
        source_bits: Bits stored of the file. 8-bit and 16-bit sources must not be mixed silently.
        uid: SOPInstanceUID, or None for a picture.
        transforms: What was applied to the stored values, in order; empty where nothing was.
        frame: Index of the frame in its file, from 0.
        remarks: What is odd about the file, each with a code of the audit.
    """

    pixels: np.ndarray
    max_value: int
    source_bits: int
    uid: str | None
    transforms: tuple[str, ...]
    frame: int = 0
    remarks: tuple[Remark, ...] = ()


@expendable
def read_image(
    path: str | Path, config: DecodingConfig | None = None, photometric: Photometric | None = None
) -> DecodedImage:
    """Decode the one image of a DICOM file or of a grey picture, of any name.

    `photometric` tells whether low values are bright (MONOCHROME1) where the file does not say it,
    as most pictures do not, or not rightly.

    A 16-bit MONOCHROME2 file without LUT and window, as CBIS-DDSM has them, gives its stored
    values unchanged. It is read in a process of its own, see `expendable`.

    Raises:
        DecodingError: If the file gives no single monochrome image; `code` says why.
    """
    path, config = Path(path), config or DecodingConfig()
    check_file(path, config.max_bytes)
    if is_picture_file(path):
        image = _picture(path, config)
        return _inverted(image) if photometric == "MONOCHROME1" else image
    header = _checked_header(path, config)
    if photometric:
        header = replace(header, photometric=photometric)
    if header.frames > 1 and config.frames == "refuse":
        detail = f"{header.frames} frames; use read_frames, or frames='middle'"
        raise DecodingError(DecodingFailure.MULTI_FRAME, path, detail)
    frame = header.frames // 2 if config.frames == "middle" else 0
    return _frame(path, header, frame, config)


def read_frames(path: str | Path, config: DecodingConfig | None = None) -> Iterator[DecodedImage]:
    """Decode the frames of a file one after another, holding one at a time.

    A file with a single frame gives that; `config.frames` has no effect here.

    Raises:
        DecodingError: While iterating, as `read_image` does.
    """
    config = config or DecodingConfig()
    for frame in range(_count_frames(path, config)):
        yield _read_frame(path, config, frame)


@expendable
def read_thumbnail(path: str | Path, size: int) -> np.ndarray:
    """Decode an image coarsely, to at least `size` pixels along its shorter edge.

    JPEG is decoded at a reduced scale, in some 10 ms.

    Returns:
        (h, w) float64 grey levels in [0, 1].

    Raises:
        DecodingError: As `read_image` does.
    """
    path = Path(path)
    if is_picture_file(path):
        return read_thumbnail_of_picture(path, size)
    image = read_image(path, DecodingConfig(voi="none"))
    step = max(1, min(image.pixels.shape) // size)
    return image.pixels[::step, ::step] / image.max_value


@expendable
def _count_frames(path: str | Path, config: DecodingConfig) -> int:
    path = Path(path)
    check_file(path, config.max_bytes)
    return 1 if is_picture_file(path) else _checked_header(path, config).frames


@expendable
def _read_frame(path: str | Path, config: DecodingConfig, frame: int) -> DecodedImage:
    path = Path(path)
    if is_picture_file(path):
        return _picture(path, config)
    header = _checked_header(path, config)
    return _frame(path, header, frame, config)


def _picture(path: Path, config: DecodingConfig) -> DecodedImage:
    pixels, transforms = read_picture(path, config.max_pixels)
    pixels.setflags(write=False)
    bits = pixels.dtype.itemsize * 8
    return DecodedImage(pixels, 2**bits - 1, bits, None, transforms)


def _inverted(image: DecodedImage) -> DecodedImage:
    pixels: np.ndarray = image.max_value - image.pixels
    pixels.setflags(write=False)
    return replace(image, pixels=pixels, transforms=(*image.transforms, "invert"))


def _checked_header(path: Path, config: DecodingConfig) -> Header:
    """Refuse what the header alone shows to be no monochrome image, or too large."""
    header = read_header(path)
    if config.max_bytes < LARGEST_FILE:
        check_inflated(path, config.max_bytes)
    check_size(path, header.rows, header.columns, header.samples, config.max_pixels)
    if header.frames > config.max_frames:
        detail = f"{header.frames} frames, more than max_frames = {config.max_frames}"
        raise DecodingError(DecodingFailure.TOO_LARGE, path, detail)
    if header.modality == "SEG" or header.sop_class_uid in _SEGMENTATION_CLASSES:
        detail = "a segmentation object holds regions, not an image"
        raise DecodingError(DecodingFailure.SEGMENTATION, path, detail)
    if not header.rows or not header.columns:
        detail = f"a {header.modality or 'DICOM'} object without rows and columns is no image"
        raise DecodingError(DecodingFailure.NO_PIXEL_DATA, path, detail)
    if header.photometric and (header.photometric not in GREY or header.samples != 1):
        detail = f"{header.photometric}, {header.samples} samples per pixel: not monochrome"
        raise DecodingError(DecodingFailure.COLOR, path, detail)
    if header.bits_allocated not in (8, 16):
        detail = f"{header.bits_allocated} bits allocated; 8 or 16 are read"
        raise DecodingError(DecodingFailure.UNSUPPORTED_DEPTH, path, detail)
    if not header.photometric or not 1 <= header.bits_stored <= header.bits_allocated:
        detail = f"photometric {header.photometric!r}, {header.bits_stored} bits stored"
        raise DecodingError(DecodingFailure.INCOMPLETE_HEADER, path, detail)
    return header


def _dataset(path: Path, header: Header) -> FileDataset:
    with _failures(path, header):
        dataset = pydicom.dcmread(path, force=True)
        if not dataset.file_meta.get("TransferSyntaxUID"):
            # A headless file of an old archive: pydicom found out its encoding while reading.
            implicit = dataset.original_encoding[0]
            syntax = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
            dataset.file_meta.TransferSyntaxUID = syntax
    if "PixelData" not in dataset:
        # The header was whole a moment ago: what is gone broke off behind it.
        if "Rows" not in dataset:
            detail = "the file breaks off within the pixel data; download it again"
            raise DecodingError(DecodingFailure.TRUNCATED, path, detail)
        detail = "an image header without integer pixel data"
        raise DecodingError(DecodingFailure.NO_PIXEL_DATA, path, detail)
    return dataset


def _frame(path: Path, header: Header, frame: int, config: DecodingConfig) -> DecodedImage:
    dataset = _dataset(path, header)
    with _failures(path, header):
        word_format = _word_format(dataset)
        table = grey_table(
            frame_attributes(dataset, frame),
            word_format,
            inverted=header.photometric == "MONOCHROME1",
            voi=config.voi,
            voi_index=config.voi_index,
            little_endian=dataset.original_encoding[1] is not False,
        )
        words = _words(path, dataset, header, frame)
        pixels = table.apply(words)
        pixels.setflags(write=False)
        return DecodedImage(
            pixels=pixels,
            max_value=table.max_value,
            source_bits=header.bits_stored,
            uid=header.sop_instance_uid or None,
            transforms=table.transforms,
            frame=frame,
            remarks=(*table.remarks, *_remarks(words, word_format, table)),
        )


def _remarks(words: np.ndarray, word_format: WordFormat, table: GreyTable) -> Iterator[Remark]:
    """What is odd about the pixels of a frame, given as (H, W) words."""
    if PADDING in table.transforms and (share := table.padding[words].mean()):
        yield PADDING, f"{share:.1%} of the pixels are padding and were made black"
    white, brightest = 2**word_format.bits_stored - 1, int(words.max())
    if brightest > white and not word_format.signed and not word_format.shift:
        share = ((words > white) & ~table.padding[words]).mean()
        detail = f"{share:.2%} of the pixels, up to {brightest}, are above {white}, the greatest "
        detail += "value of BitsStored: only the lower bits are taken"
        if share:
            yield "above_bits_stored", detail


def _word_format(dataset: FileDataset) -> WordFormat:
    syntax = dataset.file_meta.TransferSyntaxUID
    # A codestream holds values; only words written as they are can have bits below the value.
    native = not syntax.is_compressed or syntax == RLELossless
    shift = int(dataset.get("HighBit", dataset.BitsStored - 1)) + 1 - int(dataset.BitsStored)
    return WordFormat(
        bits_allocated=int(dataset.BitsAllocated),
        bits_stored=int(dataset.BitsStored),
        signed=bool(dataset.get("PixelRepresentation", 0)),
        shift=max(shift, 0) if native else 0,
    )


def _words(path: Path, dataset: FileDataset, header: Header, frame: int) -> np.ndarray:
    """Decode one frame to its words, (H, W) uint8 or uint16, in the byte order of the machine."""
    size = header.rows * header.columns
    if dataset.file_meta.TransferSyntaxUID.is_encapsulated:
        check_codestream(path, dataset.PixelData, frame, header.frames, size)
    elif len(dataset.PixelData) < size * header.frames * header.bits_allocated // 8:
        detail = f"{len(dataset.PixelData):,} bytes of pixel data are too few; download it again"
        raise DecodingError(DecodingFailure.TRUNCATED, path, detail)
    _ask_gdcm_last(dataset.file_meta.TransferSyntaxUID)
    index = frame if header.frames > 1 else None
    # The table of grey levels ignores bits above the value, and `_remarks` tells of them.
    options: dict[str, Any] = {"raw": True, "view_only": True, "correct_unused_bits": False}
    pixels = pixel_array(dataset, index=index, **options)
    if pixels.shape != (header.rows, header.columns):
        shape = " x ".join(map(str, pixels.shape))
        detail = f"the pixels are {shape}, the header says {header.rows} x {header.columns}"
        raise DecodingError(DecodingFailure.MULTI_FRAME, path, detail)
    native = pixels.astype(pixels.dtype.newbyteorder("="), copy=False)
    return native.view(f"u{native.dtype.itemsize}")


def _ask_gdcm_last(syntax: UID) -> None:
    """Let pydicom try gdcm behind all others: on some damaged files it ends the process."""
    decoder = get_decoder(syntax)
    if len(decoder.available_plugins) > 1 and _GDCM in decoder.available_plugins:
        decoder.remove_plugin(_GDCM)
        decoder.add_plugin(_GDCM, (f"pydicom.pixels.decoders.{_GDCM}", "_decode_frame"))


@contextmanager
def _failures(path: Path, header: Header) -> Iterator[None]:
    """Turn whatever pydicom and its decoders raise into a `DecodingError`."""
    with failing_as(DecodingFailure.UNREADABLE, path), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # an odd but harmless value; harm shows as an error
        try:
            yield
        except NoSuchVoiError as error:
            raise DecodingError(DecodingFailure.NO_SUCH_VOI, path, str(error)) from error
        except BadLookupTableError as error:
            raise DecodingError(DecodingFailure.BAD_LOOKUP_TABLE, path, str(error)) from error
        except NotImplementedError as error:
            code = DecodingFailure.UNSUPPORTED_TRANSFER_SYNTAX
            raise DecodingError(code, path, str(error)) from error
        except RuntimeError:
            code = DecodingFailure.UNDECODABLE
            # No free Python decoder opens 12-bit JPEG Extended: not the file is at fault.
            if header.transfer_syntax == JPEGExtended12Bit and header.bits_stored > 8:
                code = DecodingFailure.UNSUPPORTED_TRANSFER_SYNTAX
            with failing_as(code, path):
                raise
