"""Which images are taken for mammograms, and what says that one is something else."""

from pathlib import Path

from pydantic import Field

from miram.configuration import Config, Listed
from miram.mammography.decoding.headers import Header, check_single_grey
from miram.mammography.decoding.views import Special
from miram.mammography.sources.cbis_ddsm.file_roles import FileRole, is_cbis_ddsm, role_of

SPECIAL: dict[str, str] = {
    "tomosynthesis": "a slice, projection or generated view of a tomosynthesis, by its SOP class "
    "or ImageType",
    "magnification": "a magnification or spot compression view, by its view modifier or "
    "magnification factor",
    "specimen": "an image of removed tissue",
    "stereo": "a stereotactic image of a biopsy, by its ImageType",
    "secondary_capture": "a picture made after the examination, such as with marks of CAD",
}
KINDS = {"for_processing": "a raw detector image; its contrast is different", **SPECIAL}
"""What an image may be instead of an ordinary mammogram: audit codes and their meaning."""


class WantedKinds(Config):
    """Which images are taken that are no ordinary mammograms."""

    for_processing: bool = Field(
        False, description="also take raw detector images, whose contrast differs"
    )
    special: Listed[Special] = Field(
        (), description="also take single images of these kinds, which are no ordinary mammograms"
    )


class WantedImages(WantedKinds):
    """Which DICOM images are taken for mammograms, by a source or by a model."""

    modalities: Listed[str] = Field(
        ("MG",), min_length=1, description="DICOM modalities to take; old films may be CR or RG"
    )


class UnwantedImageError(Exception):
    """A sound file that is not wanted: its `code` of the audit, and the `fact` in words."""

    def __init__(self, code: str, fact: str) -> None:
        super().__init__(code, fact)
        self.code, self.fact = code, fact

    def with_remedy(self, source: str) -> str:
        """The fact, and the setting of a source that takes such files."""
        remedies = {
            "other_modality": f"; sources.{source}.modalities lists those that are taken",
            "mask_or_crop": "; source=cbis_ddsm reads it with its mammogram",
            "for_processing": f"; take it with sources.{source}.for_processing: true",
        }
        kind = f"; take it with sources.{source}.special: [{self.code}]"
        return self.fact + remedies.get(self.code, kind)


def check_image(path: Path, header: Header, wanted: WantedImages) -> None:
    """Refuse a file that is no single mammogram of a wanted kind, by its header alone.

    Folders of CBIS-DDSM identify crops and masks by their names.

    Raises:
        UnwantedImageError: Another modality, a raw or special image, or a mask or a crop of
            CBIS-DDSM.
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
    check_kind(header.special, header.presentation_intent, wanted)


def check_kind(special: Special | None, intent: str, wanted: WantedKinds) -> None:
    """Refuse an image that is no ordinary mammogram, unless its kind is wanted.

    Raises:
        UnwantedImageError: It is not.
    """
    if special and special not in wanted.special:
        raise UnwantedImageError(special, SPECIAL[special])
    if intent == "FOR PROCESSING" and not wanted.for_processing:
        raise UnwantedImageError("for_processing", "a raw image (FOR PROCESSING)")
