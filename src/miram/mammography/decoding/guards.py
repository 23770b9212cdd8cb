"""Guards against files that would fill the memory: asked before anything is decoded."""

import math
import stat
import struct
import zlib
from pathlib import Path
from typing import BinaryIO

import openjpeg
from pydicom.encaps import get_frame
from pydicom.filereader import _read_file_meta_info, read_preamble
from pydicom.uid import DeflatedExplicitVRLittleEndian

from miram.mammography.decoding.errors import DecodingError, DecodingFailure

# A film mammogram of CBIS-DDSM has at most 67 MB; a tomosynthesis file, compressed, about 300 MB.
LARGEST_FILE = 2**29

_CHUNK = 2**20
# A bare codestream; and the boxes of a JP2 file, which DICOM forbids and decoders take.
_J2K_STARTS = (b"\xff\x4f\xff\x51", b"\x00\x00\x00\x0cjP  \r\n\x87\n", b"\r\n\x87\n")
_JPEG_START = b"\xff\xd8\xff"
# Start-of-frame markers of JPEG (ITU-T T.81) and of JPEG-LS (T.87); C4, C8, CC mean other things.
_JPEG_FRAMES = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}


def check_file(path: Path, max_bytes: int) -> None:
    """Refuse a file that is missing, empty, or larger than `max_bytes`.

    Raises:
        DecodingError: `not_found`, `empty` or `too_large`.
    """
    try:
        with open_file(path) as file:
            size = file.seek(0, 2)
    except FileNotFoundError as error:
        raise DecodingError(DecodingFailure.NOT_FOUND, path, "no such file") from error
    except (OSError, ValueError) as error:  # the second for a name with a NUL
        raise DecodingError(DecodingFailure.UNREADABLE, path, str(error)) from error
    if size == 0:
        detail = "the file has no bytes; download it again"
        raise DecodingError(DecodingFailure.EMPTY, path, detail)
    if size > max_bytes:
        detail = f"{size:,} bytes, more than max_bytes = {max_bytes:,}"
        raise DecodingError(DecodingFailure.TOO_LARGE, path, detail)


def open_file(path: Path) -> BinaryIO:
    """Open a file to read it; OSError where it is a pipe or a device, which might never answer."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise OSError(f"{path} is no regular file")
    return path.open("rb")


def check_inflated(path: Path, max_bytes: int) -> None:
    """Refuse a deflated DICOM file of more than `max_bytes` when inflated.

    pydicom itself reads the meta information, so that it finds the same data set behind it.

    Raises:
        DecodingError: `too_large`; and whatever pydicom raises on malformed meta information.
    """
    with path.open("rb") as file:
        read_preamble(file, force=True)
        syntax = _read_file_meta_info(file).get("TransferSyntaxUID")
        if syntax == DeflatedExplicitVRLittleEndian and not _inflates_within(file, max_bytes):
            detail = f"inflates to more than max_bytes = {max_bytes:,}"
            raise DecodingError(DecodingFailure.TOO_LARGE, path, detail)


def check_size(path: Path, rows: int, columns: int, samples: int, max_pixels: int) -> None:
    """Refuse an image whose header claims more than `max_pixels` rows x columns x samples."""
    if rows * columns * samples > max_pixels:
        detail = f"{rows} x {columns} x {samples} samples, more than max_pixels = {max_pixels:,}"
        raise DecodingError(DecodingFailure.TOO_LARGE, path, detail)


def check_codestream(path: Path, pixel_data: bytes, frame: int, frames: int, size: int) -> None:
    """Refuse a compressed frame whose own header claims more than `size` = rows x columns.

    A decoder allocates what the codestream claims, so that a small DICOM size over a huge
    codestream would pass a check of the DICOM header alone.
    """
    declared = codestream_size(get_frame(pixel_data, frame, number_of_frames=frames))
    if declared is not None and math.prod(declared) > size:
        claimed = " x ".join(map(str, declared))
        detail = f"the compressed frame claims {claimed} samples, the header {size} px"
        raise DecodingError(DecodingFailure.TOO_LARGE, path, detail)


def codestream_size(data: bytes) -> tuple[int, int, int] | None:
    """Read rows, columns and samples per pixel from one compressed frame.

    None where it is neither JPEG, JPEG-LS nor JPEG 2000, or has no header.
    """
    if data.startswith(_J2K_STARTS):
        try:
            found = openjpeg.get_parameters(data)
        except RuntimeError:  # the decoder says it better
            return None
        return int(found["rows"]), int(found["columns"]), int(found["samples_per_pixel"])
    if not data.startswith(_JPEG_START):
        return None
    position = 2
    while position + 10 <= len(data) and data[position] == 0xFF:
        if data[position + 1] == 0xFF:  # a fill byte
            position += 1
            continue
        if data[position + 1] in _JPEG_FRAMES:
            rows, columns, samples = struct.unpack(">2HB", data[position + 5 : position + 10])
            return rows, columns, samples
        position += 2 + int.from_bytes(data[position + 2 : position + 4], "big")
    return None


def _inflates_within(file: BinaryIO, max_bytes: int) -> bool:
    """Inflate the rest of a file in pieces, keeping none, until it ends or is too long."""
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    total = 0
    data = file.read(_CHUNK)
    # Bytes behind the end of the stream would come back as unconsumed for ever.
    while data and not inflater.eof:
        try:
            total += len(inflater.decompress(data, _CHUNK))
        except zlib.error:  # the reader reports this better
            return True
        if total > max_bytes:
            return False
        data = inflater.unconsumed_tail or file.read(_CHUNK)
    return True
