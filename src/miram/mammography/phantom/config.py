"""What a phantom data set holds, and how often each quirk of CBIS-DDSM occurs in it."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from miram.configuration import Config

Rate = Annotated[float, Field(ge=0.0, le=1.0)]
Kind = Literal["mass", "calcification"]
View = Literal["CC", "MLO"]

KINDS: tuple[Kind, Kind] = ("mass", "calcification")

PATIENTS_WITH_EVERY_QUIRK = 40
"""From this number of patients on, each quirk whose rate is not zero occurs at least once."""


class RatePerKind(Config):
    """One share for masses and one for calcifications."""

    mass: Rate
    calcification: Rate

    def of(self, kind: Kind) -> float:
        """Give the share of one kind of abnormality."""
        return self.mass if kind == "mass" else self.calcification


class PhantomQuirks(Config):
    """How often each quirk of the real files occurs.

    The defaults are the rates counted on the four real CSVs (3,568 lesions of 1,566 patients)
    or measured on real images. A rate of 0 switches the quirk off.
    """

    renamed: ClassVar[dict[str, str]] = {
        "wrong_side": "mirrored",
        "mask_crumbs": "small_components",
    }

    leaking_patients: Rate = Field(
        default=31 / 1566, description="patients in train and test at once"
    )
    second_breast: Rate = Field(
        default=110 / 1645, description="patients with lesions in both breasts"
    )
    single_view: Rate = Field(default=385 / 1645, description="breasts seen in one view only")
    several_lesions: RatePerKind = Field(
        default=RatePerKind(mass=71 / 1592, calcification=222 / 1511),
        description="breasts with two to six lesions of this kind",
    )
    mixed_pathology: Rate = Field(
        default=19 / 3103, description="breasts with benign and malignant"
    )
    without_callback: RatePerKind = Field(
        default=RatePerKind(mass=141 / 912, calcification=541 / 1199),
        description="benign lesions written BENIGN_WITHOUT_CALLBACK",
    )
    missing_first_label: RatePerKind = Field(
        default=RatePerKind(mass=4 / 1696, calcification=24 / 1872),
        description="rows without mass shape or calcification type",
    )
    missing_second_label: RatePerKind = Field(
        default=RatePerKind(mass=60 / 1696, calcification=439 / 1872),
        description="rows without mass margins or calcification distribution",
    )
    several_first_labels: RatePerKind = Field(
        default=RatePerKind(mass=80 / 1696, calcification=320 / 1872),
        description="lesions with hyphen-joined shapes or types",
    )
    several_second_labels: RatePerKind = Field(
        default=RatePerKind(mass=135 / 1696, calcification=42 / 1872),
        description="lesions with hyphen-joined margins or distributions",
    )
    lucent_centered: Rate = Field(
        default=44 / 250, description="LUCENT_CENTER rows that are written LUCENT_CENTERED"
    )
    zero_density: Rate = Field(
        default=1 / 674, description="patients with calcifications only whose density is written 0"
    )
    zero_assessment: Rate = Field(
        default=238 / 3568, description="rows with assessment 0, incomplete"
    )
    zero_subtlety: RatePerKind = Field(
        default=RatePerKind(mass=2 / 1696, calcification=0.0), description="rows with subtlety 0"
    )
    swapped_files: Rate = Field(
        default=587 / 1593, description="rows whose crop column names the mask file and vice versa"
    )
    separate_series: RatePerKind = Field(
        default=RatePerKind(mass=103 / 1696, calcification=1 / 1872),
        description="rows with crop and mask in two series, both named 000000.dcm",
    )
    mask_mismatch: RatePerKind = Field(
        default=RatePerKind(mass=78 / 1696, calcification=0.0),
        description="masks 1.149 times smaller than their image in both axes",
    )
    small_components: Rate = Field(default=0.87, description="masks with specks beside the lesion")
    blank_description: Rate = Field(
        default=566 / 10237, description="files with blank SeriesDescription"
    )
    mirrored: Rate = Field(
        default=0.37, description="images with the chest wall at the opposite edge"
    )
    white_strips: Rate = Field(default=0.70, description="images with white strips at the border")
    edge_lesions: Rate = Field(
        default=6 / 263, description="lesion boxes that touch the image's edge"
    )


class PhantomConfig(Config):
    """A synthetic imitation of CBIS-DDSM, drawn from one seed."""

    renamed: ClassVar[dict[str, str]] = {"image_side": "image_size"}

    patients: int = Field(default=100, ge=2, le=20_000, description="number of patients")
    image_size: int = Field(
        default=1280,
        ge=256,
        le=6000,
        description="image height in pixels; the width is 0.45 to 0.75 of it",
    )
    views: tuple[View, ...] = Field(
        default=("CC", "MLO"),
        min_length=1,
        max_length=2,
        description="views of each breast with a lesion",
    )
    seed: int = Field(default=0, ge=0, description="same seed, same bytes")
    test_share: Rate = Field(default=0.195, description="share of patients in the test split")
    both_kinds_share: Rate = Field(
        default=0.10,
        description="share of patients with masses and calcifications; the rest is halved",
    )
    suspicious_share: RatePerKind = Field(
        default=RatePerKind(mass=0.46, calcification=0.36),
        description="share of lesions that appear malignant, before the label noise",
    )
    label_noise: float = Field(
        default=0.10,
        ge=0.0,
        le=0.4,
        description="share of findings whose pathology contradicts their labels: sets the ceiling",
    )
    quirks: PhantomQuirks = Field(
        default=PhantomQuirks(), description="how often each quirk occurs"
    )

    def at_least(self, rate: float, minimum: int = 1) -> int:
        """How often a quirk of this rate must occur in a phantom of this size."""
        return minimum if rate > 0 and self.patients >= PATIENTS_WITH_EVERY_QUIRK else 0
