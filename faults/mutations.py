"""Files that were once sound: seeds in every encoding, and what is done to their structure."""

import io
import random
import struct
import warnings
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from PIL import Image
from pydicom.dataset import Dataset, FileDataset
from pydicom.encaps import generate_fragments
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from miram.mammography.phantom import PhantomConfig, phantom_files

# What is written here is meant to be wrong.
pydicom.config.settings.writing_validation_mode = pydicom.config.IGNORE

LARGEST_SEED = 60_000  # bytes; larger ones of pydicom's own files only take longer
_CONTAINERS = {"SQ", "OB", "OW", "OF", "OD", "OL", "OV", "UN"}
# What a mutation aims at first: all of them say how many bytes are to come, or how to read them.
_TELLING = (
    *("Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation"),
    *("SamplesPerPixel", "NumberOfFrames", "PhotometricInterpretation", "WindowCenter"),
    *("WindowWidth", "RescaleSlope", "RescaleIntercept", "PixelPaddingValue", "VOILUTFunction"),
    *("VOILUTSequence", "ModalityLUTSequence", "SpecificCharacterSet", "PixelData"),
    *("SOPInstanceUID", "PatientID", "ImageLaterality", "ViewPosition", "Modality", "ImageType"),
)
_NUMBERS = (0, 1, 2, 3, 7, 8, 12, 16, 17, 31, 32, 33, 255, 256, 4096, 32767, 32768, 65535)
_TEXTS = (
    *("", " ", "0", "-1", "1e308", "-1e308", "nan", "inf", "1e-320", "99999999999", "1\\2\\3"),
    *("\\", "\\\\", "MONOCHROME1", "MONOCHROME2", "RGB", "PALETTE COLOR", "ISO_IR 192"),
    *("ISO 2022 IR 149", "\0", "a\0b", "../../etc/passwd", "=1+1", "\u202egpj", "LINEAR_EXACT"),
    *("SIGMOID", "x" * 70_000),
)


def films() -> dict[str, bytes]:
    """A phantom's film in every encoding, by the name of a file."""
    return {**dict(_dicoms()), **dict(_pictures())}


def test_files() -> dict[str, bytes]:
    """What pydicom brings along to test itself: CT, color, plans, reports and odd headers."""
    folder = Path(pydicom.__file__).parent / "data/test_files"
    paths = sorted(folder.glob("*.dcm"))
    return {path.name: path.read_bytes() for path in paths if path.stat().st_size <= LARGEST_SEED}


@cache
def _film() -> FileDataset:
    config = PhantomConfig(patients=2, image_size=256, seed=1)
    of_images = (content for name, content in phantom_files(config) if name.endswith(".dcm"))
    return pydicom.dcmread(io.BytesIO(next(of_images)))


def _dicoms() -> Iterator[tuple[str, bytes]]:
    yield "plain.dcm", _saved(_film())
    for name, syntax in (
        *(("implicit", ImplicitVRLittleEndian), ("deflated", DeflatedExplicitVRLittleEndian)),
        *(("rle", RLELossless), ("jpeg_ls", JPEGLSLossless), ("jpeg_2000", JPEG2000Lossless)),
    ):
        film = pydicom.dcmread(io.BytesIO(_saved(_film())))
        if syntax.is_encapsulated:
            film.compress(syntax)
        film.file_meta.TransferSyntaxUID = syntax
        yield f"{name}.dcm", _saved(film)
    big = pydicom.dcmread(io.BytesIO(_saved(_film())))
    big.PixelData = np.frombuffer(big.PixelData, "<u2").astype(">u2").tobytes()
    big.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
    file = io.BytesIO()
    pydicom.dcmwrite(file, big, implicit_vr=False, little_endian=False)
    yield "big_endian.dcm", file.getvalue()
    windowed = pydicom.dcmread(io.BytesIO(_saved(_film())))
    windowed.PhotometricInterpretation = "MONOCHROME1"
    windowed.WindowCenter, windowed.WindowWidth = [30000, 2000], [50000, 900]
    windowed.RescaleSlope, windowed.RescaleIntercept = 2, -100
    windowed.add_new("PixelPaddingValue", "US", 0)
    yield "window.dcm", _saved(windowed)
    for keyword in ("VOILUTSequence", "ModalityLUTSequence"):
        with_table = pydicom.dcmread(io.BytesIO(_saved(_film())))
        table = Dataset()
        table.add_new("LUTDescriptor", "US", [256, 0, 16])
        table.add_new("LUTData", "US", list(range(0, 65536, 256)))
        table.add_new("ModalityLUTType", "LO", "OD")
        setattr(with_table, keyword, [table])
        yield f"{keyword}.dcm", _saved(with_table)
    frames = pydicom.dcmread(io.BytesIO(_saved(_film())))
    frames.NumberOfFrames, frames.PixelData = 3, 3 * frames.PixelData
    yield "frames.dcm", _saved(frames)


def _pictures() -> Iterator[tuple[str, bytes]]:
    words = _film().pixel_array
    octets = (words >> 8).astype(np.uint8)
    for pixels, endings in (
        (octets, ("png", "jpg", "tif", "jp2", "pgm")),
        (words, ("png", "tif")),
        (words.astype(np.float32) / 65535, ("tif",)),
    ):
        for ending in endings:
            file = io.BytesIO()
            kind = {"jpg": "JPEG", "tif": "TIFF", "jp2": "JPEG2000", "pgm": "PPM"}
            Image.fromarray(pixels).save(file, kind.get(ending, ending.upper()))
            yield f"{pixels.dtype}.{ending}", file.getvalue()


def _saved(dataset: Dataset) -> bytes:
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset.save_as(file)
    return file.getvalue()


def mutated(content: bytes, name: str, others: list[bytes], draw: random.Random) -> bytes:
    """The content of a seed with one to three faults of structure.

    Args:
        content: Of the seed.
        name: Of the seed; its ending says what it is.
        others: Contents of all seeds, for what comes from another file.
        draw: Where the choices come from.
    """
    for _ in range(draw.choice((1, 1, 1, 2, 3))):
        kinds = [_in_bytes, _in_numbers, _spliced]
        if name.endswith(".dcm"):
            kinds += [_in_tags, _in_tags, _in_lengths, _in_fragments, _in_codestream]
        content = draw.choice(kinds)(content, others, draw)
    return content


def _in_bytes(content: bytes, others: list[bytes], draw: random.Random) -> bytes:
    """Flipped bits, a broken-off end, a hole, or a piece that stands twice."""
    found = bytearray(content)
    start = draw.randrange(len(found) + 1)
    end = min(len(found), start + draw.choice((1, 2, 4, 64, 1000)))
    kind = draw.randrange(5)
    if kind == 0 and found:
        for _ in range(draw.choice((1, 4, 64))):
            found[draw.randrange(len(found))] ^= 1 << draw.randrange(8)
    elif kind == 1:
        del found[start:]
    elif kind == 2:
        del found[start:end]
    elif kind == 3:
        found[start:end] = bytes(end - start)
    else:
        found[start:start] = found[start:end] * draw.choice((1, 1, 100))
    return bytes(found)


def _in_numbers(content: bytes, others: list[bytes], draw: random.Random) -> bytes:
    """Other numbers where headers have theirs: near the beginning, more rarely anywhere."""
    if len(content) < 16:
        return content
    found = bytearray(content)
    for _ in range(draw.choice((1, 1, 2, 8))):
        reach = draw.choice((64, 512, 2048, len(found)))
        at = draw.randrange(min(reach, len(found) - 8))
        form = draw.choice((">H", "<H", ">I", "<I", "B"))
        top = 2 ** (8 * struct.calcsize(form))
        value = draw.choice((0, 1, top - 1, top // 2, top // 2 - 1, draw.randrange(top)))
        struct.pack_into(form, found, at, value)
    return bytes(found)


def _spliced(content: bytes, others: list[bytes], draw: random.Random) -> bytes:
    """The beginning of one file and the end of another."""
    other = draw.choice(others)
    return content[: draw.randrange(len(content) + 1)] + other[draw.randrange(len(other) + 1) :]


def _in_tags(content: bytes, others: list[bytes], draw: random.Random) -> bytes:
    """An element with another value, of another kind, gone, or of another file."""
    dataset = _parsed(content)
    if dataset is None:
        return content
    present = [keyword for keyword in _TELLING if keyword in dataset]
    kind = draw.randrange(6)
    try:
        if kind == 0 and present:
            del dataset[draw.choice(present)]
        elif kind == 1:
            uids = (*pydicom.uid.AllTransferSyntaxes, UID("1.2.3"), UID(""))
            dataset.file_meta.TransferSyntaxUID = draw.choice(uids)
        elif kind == 2 and (other := _parsed(draw.choice(others))):
            element = draw.choice(list(other) or list(dataset))
            dataset[element.tag] = element
        else:
            where = dataset
            while (inner := [one for one in where if one.VR == "SQ" and one.value]) and (
                draw.random() < 0.5
            ):
                where = draw.choice(inner).value[0]
            tags = [one.tag for one in where] + [pydicom.tag.Tag(name) for name in _TELLING]
            _revalue(where, draw.choice(tags), draw)
        return _saved(dataset)
    except Exception:  # what cannot be written is no file
        return content


def _revalue(dataset: Dataset, tag: Any, draw: random.Random) -> None:
    kind = draw.choice(("US", "SS", "UL", "LO", "DS", "IS", "UN", "OB", "SQ", "CS", "PN", "FD"))
    if tag in dataset and draw.random() < 0.6:
        kind = dataset[tag].VR
    value: Any
    if kind in ("US", "SS", "UL", "SL", "FD", "FL", "US or SS"):
        value = draw.choice((*_NUMBERS, -1, [1, 2], [256, 0, 16], [0, 0, 0], [65535] * 3, None))
        kind = "US" if " " in kind else kind
    elif kind in _CONTAINERS:
        value = [] if kind == "SQ" else draw.randbytes(draw.choice((0, 1, 2, 7, 1000)))
    else:
        value = draw.choice(_TEXTS)
    dataset[tag] = pydicom.DataElement(tag, kind, value, validation_mode=0)


def _in_lengths(content: bytes, others: list[bytes], draw: random.Random) -> bytes:
    """The length of an element says something else."""
    known = [form.encode() for form in ("UI", "US", "LO", "CS", "DS", "IS", "SQ", "OW", "OB", "UN")]
    at = [
        place
        for form in known
        for place in _places(content, form)
        if place + 12 <= len(content) and place >= 132
    ]
    if not at:
        return _in_numbers(content, others, draw)
    found, place = bytearray(content), draw.choice(at)
    if content[place : place + 2] in (b"SQ", b"OW", b"OB", b"UN"):
        old = struct.unpack_from("<I", found, place + 4)[0]
        new = (0, 1, 2**32 - 1, 2**32 - 2, 2**31, old + 1, old - 1, old + 2, 2 * old, old // 2)
        struct.pack_into("<I", found, place + 4, draw.choice(new) % 2**32)
    else:
        old = struct.unpack_from("<H", found, place + 2)[0]
        new = (0, 1, 2**16 - 1, old + 1, old - 1, old + 2, 2 * old)
        struct.pack_into("<H", found, place + 2, draw.choice(new) % 2**16)
    return bytes(found)


def _places(content: bytes, word: bytes) -> Iterator[int]:
    at = content.find(word, 0, 10_000)
    while at >= 0:
        yield at
        at = content.find(word, at + 1, 10_000)


def _in_fragments(content: bytes, others: list[bytes], draw: random.Random) -> bytes:
    """Fragments that are gone, empty, twice, cut, exchanged, or of another file."""
    dataset = _parsed(content)
    fragments = _fragments(dataset)
    if dataset is None or not fragments:
        return content
    at, kind = draw.randrange(len(fragments)), draw.randrange(7)
    if kind == 0:
        del fragments[at]
    elif kind == 1:
        fragments[at] = b""
    elif kind == 2:
        fragments.insert(at, fragments[at])
    elif kind == 3:
        fragments[at] = fragments[at][: draw.randrange(len(fragments[at]) + 1)]
    elif kind == 4:
        draw.shuffle(fragments)
    elif kind == 5:
        middle = draw.randrange(len(fragments[at]) + 1)
        fragments[at : at + 1] = [fragments[at][:middle], fragments[at][middle:]]
    else:
        fragments[at] = draw.choice(_fragments(_parsed(draw.choice(others))) or [b"\xff\xd8"])
    table = b""
    if draw.random() < 0.3:  # an offset table that leads anywhere
        table = struct.pack("<I", draw.choice((0, 1, 2**31, 2**32 - 1, len(content))))
    return _with_pixels(dataset, [table, *fragments], content)


def _in_codestream(content: bytes, others: list[bytes], draw: random.Random) -> bytes:
    """Other numbers in the compressed pixels, mostly in their header."""
    dataset = _parsed(content)
    fragments = _fragments(dataset)
    if dataset is None or not fragments:
        return content
    at = draw.randrange(len(fragments))
    change = draw.choice((_in_numbers, _in_bytes))
    fragments[at] = change(fragments[at][: draw.choice((64, 200, 10**6))], others, draw) + (
        fragments[at][200:] if draw.random() < 0.5 else b""
    )
    return _with_pixels(dataset, [b"", *fragments], content)


def _with_pixels(dataset: FileDataset, items: list[bytes], content: bytes) -> bytes:
    try:
        dataset.PixelData = b"".join(
            b"\xfe\xff\x00\xe0" + struct.pack("<I", len(one)) + one for one in items
        )
        dataset["PixelData"].is_undefined_length = True
        return _saved(dataset)
    except Exception:  # what cannot be written is no file
        return content


def _parsed(content: bytes) -> FileDataset | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dataset = pydicom.dcmread(io.BytesIO(content), force=True)
            return dataset if len(dataset) else None
    except Exception:  # spoilt already
        return None


def _fragments(dataset: FileDataset | None) -> list[bytes]:
    try:
        if dataset is None or not dataset.file_meta.TransferSyntaxUID.is_encapsulated:
            return []
        return list(generate_fragments(dataset.PixelData))[1:]
    except Exception:  # spoilt already
        return []
