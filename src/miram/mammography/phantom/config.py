"""What a phantom data set holds, and how often each quirk of CBIS-DDSM occurs in it."""

from typing import ClassVar, Literal, TypedDict

from pydantic import Field

from miram.configuration import Config

Kind = Literal["mass", "calcification"]
View = Literal["CC", "MLO"]

KINDS: tuple[Kind, Kind] = ("mass", "calcification")

PATIENTS_WITH_EVERY_QUIRK = 40
"""From this number of patients on, each quirk whose rate is not zero occurs at least once."""


class RatePerKind(TypedDict):
    """One share for masses and one for calcifications."""

    mass: float
    calcification: float


class Quirks:
    """How often each quirk of the real files occurs.

    Fractions were counted on the four real CSVs (3,568 lesions of 1,566 patients), other rates
    measured on real images.
    """

    both_kinds = 0.10  # patients with masses and calcifications; the rest is halved
    # Lesions that appear malignant, before the label noise.
    suspicious = RatePerKind(mass=0.46, calcification=0.36)
    leaking_patients = 31 / 1566  # patients in train and test at once
    second_breast = 110 / 1645  # patients with lesions in both breasts
    single_view = 385 / 1645  # breasts seen in one view only
    # Breasts with two to six lesions of this kind.
    several_lesions = RatePerKind(mass=71 / 1592, calcification=222 / 1511)
    mixed_pathology = 19 / 3103  # breasts with benign and malignant
    # Benign lesions written BENIGN_WITHOUT_CALLBACK.
    without_callback = RatePerKind(mass=141 / 912, calcification=541 / 1199)
    # Rows without mass shape or calcification type; without margins or distribution.
    missing_first_label = RatePerKind(mass=4 / 1696, calcification=24 / 1872)
    missing_second_label = RatePerKind(mass=60 / 1696, calcification=439 / 1872)
    # Lesions with hyphen-joined shapes or types; with hyphen-joined margins or distributions.
    several_first_labels = RatePerKind(mass=80 / 1696, calcification=320 / 1872)
    several_second_labels = RatePerKind(mass=135 / 1696, calcification=42 / 1872)
    lucent_centered = 44 / 250  # LUCENT_CENTER rows that are written LUCENT_CENTERED
    zero_density = 1 / 674  # patients with calcifications only whose density is written 0
    zero_assessment = 238 / 3568  # rows with assessment 0, incomplete
    # Rows with subtlety 0.
    zero_subtlety = RatePerKind(mass=2 / 1696, calcification=0.0)
    swapped_files = 587 / 1593  # rows whose crop column names the mask file, and vice versa
    # Rows with crop and mask in two series, both named 000000.dcm.
    separate_series = RatePerKind(mass=103 / 1696, calcification=1 / 1872)
    # Masks 1.149 times smaller than their image in both axes.
    mask_mismatch = RatePerKind(mass=78 / 1696, calcification=0.0)
    small_components = 0.87  # masks with specks beside the lesion
    blank_description = 566 / 10237  # files with blank SeriesDescription
    mirrored = 0.37  # images with the chest wall at the opposite edge
    white_strips = 0.70  # images with white strips at the border
    edge_lesions = 6 / 263  # lesion boxes that touch the image's edge


QUIRKS = Quirks()


class PhantomConfig(Config):
    """A synthetic imitation of CBIS-DDSM, drawn from one seed."""

    renamed: ClassVar[dict[str, str]] = {"image_side": "image_size"}

    patients: int = Field(100, ge=2, le=20_000, description="how many are drawn")
    image_size: int = Field(
        1280, ge=256, le=6000, description="image height in pixels; the width is 0.45 to 0.75 of it"
    )
    views: tuple[View, ...] = Field(
        ("CC", "MLO"), min_length=1, max_length=2, description="of each breast with a lesion"
    )
    seed: int = Field(0, ge=0, description="same seed, same bytes")
    test_share: float = Field(0.195, ge=0, le=1, description="of the patients")
    label_noise: float = Field(
        0.10, ge=0, le=0.4, description="share of findings whose pathology contradicts their labels"
    )

    def at_least(self, rate: float, minimum: int = 1) -> int:
        """How often a quirk of this rate must occur in a phantom of this size."""
        return minimum if rate > 0 and self.patients >= PATIENTS_WITH_EVERY_QUIRK else 0
