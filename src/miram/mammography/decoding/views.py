"""Which view of a breast a DICOM data set shows, and whether it is none of screening's."""

import re
from collections.abc import Iterator
from typing import Literal

from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

Special = Literal["tomosynthesis", "magnification", "specimen", "stereo", "secondary_capture"]

# Of each kind the codes in SNOMED CT and in the older SRT (DICOM PS3.16, CID 4014 and 4015).
_VIEW_CODES = {
    "399162004": "CC", "R-10242": "CC",
    "399368009": "MLO", "R-10226": "MLO",
    "399260004": "ML", "R-10224": "ML",
    "399352003": "LM", "R-10228": "LM",
    "399099002": "LMO", "R-10230": "LMO",
    "399196006": "FB", "R-10244": "FB",
    "399188001": "SIO", "R-102D0": "SIO",
    "441555000": "ISO", "R-40AAA": "ISO",
    "399192008": "XCCL", "R-1024A": "XCCL",
    "399101009": "XCCM", "R-1024B": "XCCM",
}  # fmt: skip
_SPECIMEN_CODES = {"127457009", "G-8310"}
_ENLARGED_CODES = {"399163009", "R-102D6", "399055006", "R-102D7"}  # also spot compression
# Behind a view: implant displaced, or the breast rolled.
_MODIFIED_VIEW = re.compile(rf"({'|'.join(sorted(set(_VIEW_CODES.values())))})(?:ID|R[LMIS])")
_CONTACT = 1.3  # a breast on its support is magnified by less, one on a magnification stand by more

_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
_TOMOSYNTHESIS_CLASSES = (
    "1.2.840.10008.5.1.4.1.1.13.1.3",  # Breast Tomosynthesis Image
    "1.2.840.10008.5.1.4.1.1.13.1.4",  # Breast Projection X-Ray Image, for presentation
    "1.2.840.10008.5.1.4.1.1.13.1.5",  # and for processing
    "1.2.840.10008.5.1.4.1.1.2",  # CT Image, as which slices were stored before there was a class
    "1.2.840.10008.5.1.4.1.1.2.1",  # Enhanced CT Image
)


def view_of(dataset: Dataset) -> str:
    """The view, upper case: ViewPosition, else the view code, else PatientOrientation."""
    if view := text_of(dataset, "ViewPosition").upper():
        modified = _MODIFIED_VIEW.fullmatch(re.sub(r"[\W_]", "", view))
        return modified[1] if modified else view
    for item in _view_items(dataset):
        if view := _VIEW_CODES.get(text_of(item, "CodeValue"), ""):
            return view
    orientation = text_of(dataset, "PatientOrientation").upper()
    return orientation if orientation in {"CC", "MLO"} else ""


def special_of(dataset: Dataset) -> Special | None:
    """What else than an ordinary mammogram an object of modality MG is; None where nothing says so.

    By SOP class, view code and its modifiers, and ImageType (DICOM PS3.3, C.8.11.7.1.4).
    """
    sop_class = text_of(dataset, "SOPClassUID")
    types = text_of(dataset, "ImageType").upper().split("\\")
    words = set(re.findall(r"[A-Z]+", text_of(dataset, "SeriesDescription").upper()))
    view_codes = {text_of(item, "CodeValue") for item in _view_items(dataset)}
    modifiers = {
        text_of(modifier, "CodeValue")
        for item in _view_items(dataset)
        for modifier in item.get("ViewModifierCodeSequence") or ()
    }
    generated = any(value.startswith("TOMO") or value == "GENERATED_2D" for value in types)
    if sop_class in _TOMOSYNTHESIS_CLASSES or generated:
        return "tomosynthesis"
    if any(value.startswith(("STEREO", "PREFIRE", "POSTFIRE")) for value in types):
        return "stereo"
    if view_codes & _SPECIMEN_CODES or dataset.get("SpecimenDescriptionSequence"):
        return "specimen"
    if modifiers & _ENLARGED_CODES or _magnification(dataset) >= _CONTACT:
        return "magnification"
    if sop_class.startswith(_SECONDARY_CAPTURE) and ("SECONDARY" in types or "CAD" in words):
        return "secondary_capture"
    return None


def text_of(dataset: Dataset, keyword: str) -> str:
    """A value as text, several joined by a backslash; empty where it is absent."""
    value = dataset.get(keyword)
    if value is None:
        return ""
    if isinstance(value, (list, MultiValue)):
        return "\\".join(str(part) for part in value).strip()
    return str(value).strip()


def _view_items(dataset: Dataset) -> Iterator[Dataset]:
    yield from dataset.get("ViewCodeSequence") or ()


def _magnification(dataset: Dataset) -> float:
    try:
        return float(text_of(dataset, "EstimatedRadiographicMagnificationFactor"))
    except ValueError:
        return 1.0
