"""What the header of an image file says, read without its pixels."""

import re
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pydicom
from PIL import Image
from pydicom.dataset import Dataset, FileDataset
from pydicom.tag import BaseTag, Tag

from miram.mammography.decoding.errors import DecodingError, DecodingFailure
from miram.mammography.decoding.expendable import expendable
from miram.mammography.decoding.guards import LARGEST_FILE, check_file, check_inflated, open_file
from miram.mammography.decoding.pictures import FORMATS, is_picture_file

_HEADER_KEYWORDS = (
    "BitsAllocated", "BitsStored", "Columns", "ImageLaterality", "Laterality", "Modality",
    "NumberOfFrames", "PatientID", "PatientOrientation", "PhotometricInterpretation",
    "PresentationIntentType", "Rows", "SOPClassUID", "SOPInstanceUID", "SamplesPerPixel",
    "SeriesDescription", "SeriesInstanceUID", "SpecificCharacterSet", "StudyInstanceUID",
    "ViewCodeSequence", "ViewPosition",
)  # fmt: skip
# pydicom takes plain integers as well, but turns each into a tag again for every file.
_HEADER_TAGS: list[Any] = [Tag(keyword) for keyword in _HEADER_KEYWORDS]
_LAST_HEADER_TAG: BaseTag = max(_HEADER_TAGS)

# Digital Mammography X-Ray Image Storage, and its variant before processing (PS3.4, B.5).
_INTENTS = {
    "1.2.840.10008.5.1.4.1.1.1.2": "FOR PRESENTATION",
    "1.2.840.10008.5.1.4.1.1.1.2.1": "FOR PROCESSING",
}
GREY = ("MONOCHROME1", "MONOCHROME2")
_PICTURE_BITS = {"1": 8, "L": 8, "I;16": 16, "I;16B": 16, "I;16L": 16}
_UID = re.compile(r"(?:0|[1-9]\d*)(?:\.(?:0|[1-9]\d*))+", re.ASCII)
_LONGEST_UID = 64  # DICOM PS3.5, 9.1
# SNOMED CT and the older SRT codes of the two screening views (DICOM PS3.16, CID 4014).
_VIEW_CODES = {
    "399162004": "CC",
    "R-10242": "CC",
    "399368009": "MLO",
    "R-10226": "MLO",
}


@dataclass(frozen=True)
class Header:
    """The header fields that sorting files needs; text is empty and numbers are 0 where absent.

    Attributes:
        bits_allocated: Bits per sample in memory: 8 for a CBIS mask, 16 for its images.
        bits_stored: Bits per sample that carry the value.
        frames: 1 where the field is absent.
        samples: Per pixel, 1 where the field is absent; 3 for color.
        transfer_syntax: UID of the encoding; empty in a file without meta information.
        series_description: Blank in 566 of the 10,237 CBIS-DDSM files.
        patient_id: In CBIS-DDSM the folder name, not the patient.
        patient_orientation: Parts joined by a backslash; CC or MLO in CBIS-DDSM.
        view: Upper case: ViewPosition, else the view code sequence, else PatientOrientation.
        laterality: L, R, B or empty.
        presentation_intent: FOR PROCESSING, FOR PRESENTATION or empty: by the tag, else by the
            SOP class.
    """

    bits_allocated: int
    bits_stored: int
    rows: int
    columns: int
    frames: int
    samples: int
    transfer_syntax: str
    sop_class_uid: str
    sop_instance_uid: str
    series_uid: str
    study_uid: str
    series_description: str
    patient_id: str
    modality: str
    photometric: str
    patient_orientation: str
    view: str
    laterality: str
    presentation_intent: str


@expendable
def read_header(path: str | Path) -> Header:
    """Read the header fields of one DICOM file of any name, stopping before the pixels.

    Fields the file lacks are empty, 0, or 1 for `frames` and `samples`.

    Raises:
        DecodingError: The file is missing, empty, too large or not DICOM.
    """
    path = Path(path)
    check_file(path, LARGEST_FILE)
    try:
        with warnings.catch_warnings():
            # An odd value is not a reason to stop, and what matters is checked below.
            warnings.simplefilter("ignore")
            check_inflated(path, LARGEST_FILE)
            with path.open("rb") as file:
                dataset = pydicom.filereader.read_partial(
                    file,
                    stop_when=_is_past_header,
                    force=True,
                    specific_tags=_HEADER_TAGS,
                )
            header = _header(dataset)
    except (DecodingError, MemoryError):
        raise
    # pydicom lets many kinds of error out on malformed files; each must become an audit row.
    except Exception as error:
        detail = f"the header cannot be read: {type(error).__name__}: {error}"
        raise DecodingError(DecodingFailure.UNREADABLE, path, detail) from error
    if not (header.sop_class_uid or header.series_uid or header.rows):
        detail = "no DICOM header: neither SOP class nor series nor size; download it again"
        raise DecodingError(DecodingFailure.NOT_DICOM, path, detail)
    return header


def _is_past_header(tag: BaseTag, vr: str | None, length: int) -> bool:
    return tag > _LAST_HEADER_TAG


def _header(dataset: FileDataset) -> Header:
    return Header(
        bits_allocated=_number(dataset, "BitsAllocated"),
        bits_stored=_number(dataset, "BitsStored"),
        rows=_number(dataset, "Rows"),
        columns=_number(dataset, "Columns"),
        frames=max(_number(dataset, "NumberOfFrames"), 1),
        samples=max(_number(dataset, "SamplesPerPixel"), 1),
        transfer_syntax=_text(dataset.file_meta, "TransferSyntaxUID"),
        sop_class_uid=_text(dataset, "SOPClassUID"),
        sop_instance_uid=_text(dataset, "SOPInstanceUID"),
        series_uid=_text(dataset, "SeriesInstanceUID"),
        study_uid=_text(dataset, "StudyInstanceUID"),
        series_description=_text(dataset, "SeriesDescription"),
        patient_id=_text(dataset, "PatientID"),
        modality=_text(dataset, "Modality"),
        photometric=_text(dataset, "PhotometricInterpretation").upper(),
        patient_orientation=_text(dataset, "PatientOrientation"),
        view=_view(dataset),
        laterality=_laterality(dataset),
        presentation_intent=_intent(dataset),
    )


def _text(dataset: Dataset, keyword: str) -> str:
    value = dataset.get(keyword)
    if value is None:
        return ""
    if isinstance(value, (list, pydicom.multival.MultiValue)):
        return "\\".join(str(part) for part in value).strip()
    return str(value).strip()


def _number(dataset: Dataset, keyword: str) -> int:
    value = dataset.get(keyword)
    return 0 if value is None or value == "" else int(value)


def _view(dataset: Dataset) -> str:
    if view := _text(dataset, "ViewPosition").upper():
        return view
    for item in dataset.get("ViewCodeSequence") or ():
        if view := _VIEW_CODES.get(_text(item, "CodeValue"), ""):
            return view
    orientation = _text(dataset, "PatientOrientation").upper()
    return orientation if orientation in {"CC", "MLO"} else ""


def _laterality(dataset: Dataset) -> str:
    return (_text(dataset, "ImageLaterality") or _text(dataset, "Laterality")).upper()


def _intent(dataset: Dataset) -> str:
    # The tag first: raw images are also exported as Secondary Capture, or of the other class.
    intent = _text(dataset, "PresentationIntentType").upper()
    return intent or _INTENTS.get(_text(dataset, "SOPClassUID"), "")


@dataclass(frozen=True)
class ImageFacts:
    """Size and depth of an image; `header` is None for a picture.

    A two-valued picture counts as 8 bits.
    """

    rows: int
    columns: int
    bits: int
    header: Header | None


def starts_like_dicom(path: Path) -> bool:
    """Whether the mark behind its preamble says that a file is DICOM (PS3.10, 7.1)."""
    with open_file(path) as file:
        return file.read(132).endswith(b"DICM")


def is_uid(text: str) -> bool:
    """Whether a text is a DICOM UID: numbers without leading zeros, joined by dots."""
    return len(text) <= _LONGEST_UID and _UID.fullmatch(text) is not None


@expendable
def image_facts(path: str | Path) -> ImageFacts:
    """Read size and depth of a DICOM file of any name, or of a JPEG, PNG or TIFF picture.

    Raises:
        DecodingError: The file is missing, broken, or no single grey image; `code` says why.
    """
    path = Path(path)
    check_file(path, LARGEST_FILE)
    if is_picture_file(path):
        return _picture_facts(path)
    try:
        header = read_header(path)
    except DecodingError as error:
        if starts_like_dicom(path):
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

    Raises:
        DecodingError: `no_pixel_data`, `multi_frame`, `color` or `unsupported_depth`.
    """
    if not header.rows or not header.columns:
        detail = f"a {header.modality or 'DICOM'} object without rows and columns is no image"
        raise DecodingError(DecodingFailure.NO_PIXEL_DATA, path, detail)
    if header.frames > 1:
        detail = f"{header.frames} frames, as of tomosynthesis; single images are expected"
        raise DecodingError(DecodingFailure.MULTI_FRAME, path, detail)
    if header.samples != 1 or header.photometric not in GREY:
        detail = f"{header.photometric or 'no photometric interpretation'}: not monochrome"
        raise DecodingError(DecodingFailure.COLOR, path, detail)
    if header.bits_allocated not in (8, 16):
        detail = f"{header.bits_allocated} bits allocated; 8 or 16 are read"
        raise DecodingError(DecodingFailure.UNSUPPORTED_DEPTH, path, detail)


def _picture_facts(path: Path) -> ImageFacts:
    try:
        with Image.open(path, formats=FORMATS) as picture:
            size, mode = (picture.height, picture.width), picture.mode
    # Pillow lets many kinds of error out on malformed files; each must become an audit row.
    except Exception as error:
        detail = f"{type(error).__name__}: {error}"
        raise DecodingError(DecodingFailure.UNREADABLE, path, detail) from error
    if mode not in _PICTURE_BITS:
        detail = f"Pillow mode {mode}: not a grey picture of 8 or 16 bits; convert it"
        raise DecodingError(DecodingFailure.COLOR, path, detail)
    return ImageFacts(*size, _PICTURE_BITS[mode], None)
