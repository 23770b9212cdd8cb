"""Guards against files that would fill the memory: asked before anything is decoded."""

import struct
import zlib
from pathlib import Path

from pydicom.encaps import get_frame

from miram.mammography.decoding.errors import DecodingError, DecodingFailure

# A film mammogram of CBIS-DDSM has at most 67 MB; a tomosynthesis file, compressed, about 300 MB.
LARGEST_FILE = 2**29

_DEFLATED = b"1.2.840.10008.1.2.1.99"
_META_INFORMATION = 1024
_CHUNK = 2**20
_J2K_START = b"\xff\x4f\xff\x51"
_JPEG_START = b"\xff\xd8\xff"
# Start-of-frame markers of JPEG (ITU-T T.81) and of JPEG-LS (T.87); C4, C8, CC mean other things.
_JPEG_FRAMES = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}


def check_file(path: Path, max_bytes: int) -> None:
    """Refuse a file that is missing, empty, or larger than `max_bytes`, also when inflated.

    Raises:
        DecodingError: `not_found`, `empty` or `too_large`.
    """
    try:
        with path.open("rb") as file:
            start = file.read(_META_INFORMATION)
            size = file.seek(0, 2)
    except FileNotFoundError as error:
        raise DecodingError(DecodingFailure.NOT_FOUND, path, "no such file") from error
    except OSError as error:
        raise DecodingError(DecodingFailure.UNREADABLE, path, str(error)) from error
    if size == 0:
        detail = "the file has no bytes; download it again"
        raise DecodingError(DecodingFailure.EMPTY, path, detail)
    if size > max_bytes:
        detail = f"{size:,} bytes, more than max_bytes = {max_bytes:,}"
        raise DecodingError(DecodingFailure.TOO_LARGE, path, detail)
    if _DEFLATED in start and not _inflates_within(path, start, max_bytes):
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
    if declared is not None and declared[0] * declared[1] > size:
        detail = f"the compressed frame claims {declared[0]} x {declared[1]}, the header {size} px"
        raise DecodingError(DecodingFailure.TOO_LARGE, path, detail)


def codestream_size(data: bytes) -> tuple[int, int] | None:
    """Read rows and columns from one JPEG, JPEG-LS or JPEG 2000 frame; None for any other."""
    if data.startswith(_J2K_START):
        if len(data) < 24:
            return None
        right, bottom, left, top = struct.unpack(">4I", data[8:24])  # ISO 15444-1, A.5.1
        return bottom - top, right - left
    if not data.startswith(_JPEG_START):
        return None
    position = 2
    while position + 9 <= len(data) and data[position] == 0xFF:
        if data[position + 1] == 0xFF:  # a fill byte
            position += 1
            continue
        if data[position + 1] in _JPEG_FRAMES:
            rows, columns = struct.unpack(">2H", data[position + 5 : position + 9])
            return rows, columns
        position += 2 + int.from_bytes(data[position + 2 : position + 4], "big")
    return None


def _inflates_within(path: Path, start: bytes, max_bytes: int) -> bool:
    """Inflate a deflated data set in pieces, keeping none, until it ends or is too long."""
    # The group length, at byte 140, counts from byte 144 to the end of the meta information.
    meta_length = int.from_bytes(start[140:144], "little")
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    total = 0
    with path.open("rb") as file:
        file.seek(144 + meta_length)
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
