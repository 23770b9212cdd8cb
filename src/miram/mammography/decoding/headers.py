"""What the header of an image file says, read without its pixels."""

import re
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pydicom
from pydicom.dataset import Dataset, FileDataset
from pydicom.tag import BaseTag, Tag

from miram.mammography.decoding.errors import DecodingError, DecodingFailure, failing_as
from miram.mammography.decoding.expendable import expendable
from miram.mammography.decoding.guards import LARGEST_FILE, check_file, check_inflated, open_file
from miram.mammography.decoding.pictures import READ, ImageFacts, is_picture_file, picture_facts
from miram.mammography.decoding.views import Special, special_of, text_of, view_of

_HEADER_KEYWORDS = (
    "BitsAllocated", "BitsStored", "Columns", "EstimatedRadiographicMagnificationFactor",
    "ImageLaterality", "ImageType", "Laterality", "Modality", "NumberOfFrames", "PatientID",
    "PatientOrientation", "PhotometricInterpretation", "PresentationIntentType", "Rows",
    "SOPClassUID", "SOPInstanceUID", "SamplesPerPixel", "SeriesDescription", "SeriesInstanceUID",
    "SpecificCharacterSet", "SpecimenDescriptionSequence", "StudyInstanceUID", "ViewCodeSequence",
    "ViewPosition",
)  # fmt: skip
# pydicom takes plain integers as well, but turns each into a tag again for every file.
_HEADER_TAGS: list[Any] = [Tag(keyword) for keyword in _HEADER_KEYWORDS]
_LAST_HEADER_TAG: BaseTag = max(_HEADER_TAGS)

# Digital Mammography X-Ray Image Storage, and its variant before processing (PS3.4, B.5).
_INTENTS = {
    "1.2.840.10008.5.1.4.1.1.1.2": "FOR PRESENTATION",
    "1.2.840.10008.5.1.4.1.1.1.2.1": "FOR PROCESSING",
}
Photometric = Literal["MONOCHROME1", "MONOCHROME2"]
GREY: tuple[Photometric, ...] = ("MONOCHROME1", "MONOCHROME2")
_FIRST_GROUPS = (b"\x02\x00", b"\x08\x00", b"\x00\x08")  # the last one of big-endian files
# Formats that users have and nothing here reads: the mark, where it stands, and the name.
_OTHER_FORMATS = (
    (b"NRRD", 0, "an NRRD volume"),
    (b"n+1\x00", 344, "a NIfTI volume"),
    (b"ni1\x00", 344, "a NIfTI header"),
    (b"ObjectType", 0, "a MetaImage volume"),
    (b"\x93NUMPY", 0, "a NumPy array"),
    (b"GIF8", 0, "a GIF picture"),
    (b"BM", 0, "a bitmap (BMP)"),
    (b"WEBP", 8, "a WebP picture"),
    (b"\x1f\x8b", 0, "packed with gzip, such as a .nii.gz"),
    (b"PK\x03\x04", 0, "a zip archive"),
    (b"%PDF", 0, "a PDF document"),
)
_LONGEST_MARK = 348
_UID = re.compile(r"(?:0|[1-9]\d*)(?:\.(?:0|[1-9]\d*))+", re.ASCII)
_LONGEST_UID = 64  # DICOM PS3.5, 9.1


@dataclass(frozen=True)
class Header:
    """The header fields that sorting files needs.

    Of fields that the file lacks text is empty and numbers are 0, `frames` and `samples` 1.

    Attributes:
        bits_allocated: Bits per sample in memory: 8 for a CBIS mask, 16 for its images.
        bits_stored: Bits per sample that carry the value.
        samples: Per pixel; 3 for color.
        transfer_syntax: UID of the encoding; empty in a file without meta information.
        series_description: Blank in 566 of the 10,237 CBIS-DDSM files.
        patient_id: In CBIS-DDSM the folder name, not the patient.
        view: See `view_of`.
        laterality: L, R, B or empty.
        presentation_intent: FOR PROCESSING, FOR PRESENTATION or empty: by the tag, else by the
            SOP class.
        special: What else than an ordinary mammogram it is, see `special_of`.
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
    view: str
    laterality: str
    presentation_intent: str
    special: Special | None


@expendable
def read_header(path: str | Path) -> Header:
    """Read the header fields of one DICOM file of any name, stopping before the pixels.

    Raises:
        DecodingError: The file is missing, empty, too large or not DICOM.
    """
    path = Path(path)
    check_file(path, LARGEST_FILE)
    failing = failing_as(DecodingFailure.UNREADABLE, path, "the header cannot be read: ")
    with failing, warnings.catch_warnings():
        # An odd value is not a reason to stop, and what matters is checked below.
        warnings.simplefilter("ignore")
        check_inflated(path, LARGEST_FILE)
        with path.open("rb") as file:
            dataset = pydicom.filereader.read_partial(
                file, stop_when=_is_past_header, force=True, specific_tags=_HEADER_TAGS
            )
        header = _header(dataset)
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
        transfer_syntax=text_of(dataset.file_meta, "TransferSyntaxUID"),
        sop_class_uid=text_of(dataset, "SOPClassUID"),
        sop_instance_uid=text_of(dataset, "SOPInstanceUID"),
        series_uid=text_of(dataset, "SeriesInstanceUID"),
        study_uid=text_of(dataset, "StudyInstanceUID"),
        series_description=text_of(dataset, "SeriesDescription"),
        patient_id=text_of(dataset, "PatientID"),
        modality=text_of(dataset, "Modality"),
        photometric=text_of(dataset, "PhotometricInterpretation").upper(),
        view=view_of(dataset),
        laterality=(text_of(dataset, "ImageLaterality") or text_of(dataset, "Laterality")).upper(),
        presentation_intent=_intent(dataset),
        special=special_of(dataset),
    )


def _number(dataset: Dataset, keyword: str) -> int:
    value = dataset.get(keyword)
    return 0 if value is None or value == "" else int(value)


def _intent(dataset: Dataset) -> str:
    # The tag first: raw images are also exported as Secondary Capture, or of the other class.
    intent = text_of(dataset, "PresentationIntentType").upper()
    return intent or _INTENTS.get(text_of(dataset, "SOPClassUID"), "")


def starts_like_dicom(path: Path) -> bool:
    """Whether a file begins with the preamble of DICOM (PS3.10, 7.1) or, as old ones, without it.

    Those begin with a data element of group 2 or 8.
    """
    with open_file(path) as file:
        start = file.read(132)
    return start[128:] == b"DICM" or start[:2] in _FIRST_GROUPS


def is_uid(text: str) -> bool:
    """Whether a text is a DICOM UID: numbers without leading zeros, joined by dots."""
    return len(text) <= _LONGEST_UID and _UID.fullmatch(text) is not None


@expendable
def image_facts(path: str | Path) -> ImageFacts:
    """Read size, depth and kind of a DICOM file of any name, or of a picture.

    Raises:
        DecodingError: The file is missing, broken, or no single grey image; `code` says why.
    """
    path = Path(path)
    check_file(path, LARGEST_FILE)
    if is_picture_file(path):
        return picture_facts(path)
    try:
        header = read_header(path)
    except DecodingError as error:
        if starts_like_dicom(path):
            raise
        raise DecodingError(DecodingFailure.NOT_DICOM, path, _format_of(path)) from error
    check_single_grey(path, header)
    size = (header.rows, header.columns)
    special = header.special if header.modality == "MG" else None  # films are often CR or OT
    return ImageFacts(*size, header.bits_stored, special, header.presentation_intent)


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


def _format_of(path: Path) -> str:
    """Say what a file is that is not read, by its first bytes, and what to do."""
    with open_file(path) as file:
        start = file.read(_LONGEST_MARK)
    for mark, place, name in _OTHER_FORMATS:
        if start.startswith(mark, place):
            return f"{name}: convert it to DICOM, PNG or TIFF"
    return (
        f"neither DICOM nor a picture ({READ}): convert it to one of these; if it shall be one, it "
        "is damaged"
    )
