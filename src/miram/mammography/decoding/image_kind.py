"""Is a DICOM file a mammogram of the kind that is wanted: told by its header alone."""

from pathlib import Path

from pydantic import Field

from miram.configuration import Config, Listed
from miram.mammography.decoding.headers import Header
from miram.mammography.decoding.image_facts import check_single_grey
from miram.mammography.sources.cbis_ddsm.file_content import FileRole, is_cbis_ddsm, role_of


class WantedImages(Config):
    """Which DICOM images are taken for mammograms, by a source or by a model."""

    modalities: Listed[str] = Field(
        ("MG",), min_length=1, description="DICOM modalities to take; old films may be CR or RG"
    )
    for_processing: bool = Field(
        False, description="also take raw detector images, whose contrast differs"
    )


class UnwantedImageError(Exception):
    """A sound file that is not wanted.

    Attributes:
        code: As in the audit: `other_modality`, `mask_or_crop` or `for_processing`.
        fact: What the file is, in words.
    """

    def __init__(self, code: str, fact: str) -> None:
        super().__init__(code, fact)
        self.code, self.fact = code, fact


def check_kind(path: Path, header: Header, wanted: WantedImages) -> None:
    """Refuse a file that is no single mammogram of a wanted kind.

    Args:
        path: The file; folders of CBIS-DDSM tell crops and masks by their names.
        header: Its header.
        wanted: What is taken.

    Raises:
        UnwantedImageError: Another modality, a raw image, or a mask or a crop of CBIS-DDSM.
        DecodingError: No single grey image.
    """
    if header.modality not in wanted.modalities:
        raise UnwantedImageError("other_modality", f"modality {header.modality or 'not given'}")
    check_single_grey(path, header)
    names = (header.patient_id, *(part.name for part in path.parents))
    if is_cbis_ddsm(header.series_description, *names):
        role = role_of(header.bits_allocated, header.series_description, *names)
        if role in (FileRole.MASK, FileRole.CROP):
            raise UnwantedImageError("mask_or_crop", f"a {role} of CBIS-DDSM")
    if header.presentation_intent == "FOR PROCESSING" and not wanted.for_processing:
        raise UnwantedImageError("for_processing", "a raw image (FOR PROCESSING)")
