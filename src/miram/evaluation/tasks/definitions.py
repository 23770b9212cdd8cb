"""Which questions are asked of an encoder.

A task is data: a column of the lesion table, the classes looked for in it, and the kind of
answer. Any column becomes a task by a `TaskConfig` of its own.
"""

from typing import Literal

from pydantic import Field, model_validator

from miram.configuration import Config
from miram.evaluation.statistics.inputs import Kind

MASS_SHAPES = (
    "ARCHITECTURAL_DISTORTION",
    "ASYMMETRIC_BREAST_TISSUE",
    "FOCAL_ASYMMETRIC_DENSITY",
    "IRREGULAR",
    "LOBULATED",
    "LYMPH_NODE",
    "OVAL",
    "ROUND",
)
MASS_MARGINS = ("CIRCUMSCRIBED", "ILL_DEFINED", "MICROLOBULATED", "OBSCURED", "SPICULATED")
CALC_TYPES = (
    "AMORPHOUS",
    "COARSE",
    "DYSTROPHIC",
    "EGGSHELL",
    "FINE_LINEAR_BRANCHING",
    "LARGE_RODLIKE",
    "LUCENT_CENTERED",
    "MILK_OF_CALCIUM",
    "PLEOMORPHIC",
    "PUNCTATE",
    "ROUND_AND_REGULAR",
    "SKIN",
    "VASCULAR",
)
CALC_DISTRIBUTIONS = ("CLUSTERED", "DIFFUSELY_SCATTERED", "LINEAR", "REGIONAL", "SEGMENTAL")


class TaskConfig(Config):
    """A classification task over the lesion table."""

    name: str = Field(min_length=1, description="Name of the task in tables and files")
    kind: Kind = Field(description="binary, single (one of K) or multi (any of K labels)")
    column: str = Field(description="Column of the lesion table that holds the label or labels")
    by: str | None = Field(
        default=None, description="Second column; the value is then `<column> <by>`"
    )
    classes: tuple[str, ...] = Field(
        default=(), description="Class names in order; empty takes the values found, sorted"
    )
    values: tuple[str, ...] = Field(
        default=(), description="Values in the table that the classes stand for, if not the names"
    )
    positive: tuple[str, ...] = Field(
        default=(), description="binary only: values of the positive class against all others"
    )
    merge: dict[str, str] = Field(
        default_factory=dict, description="Values that are another spelling of a value"
    )
    abnormality_type: Literal["mass", "calcification"] | None = Field(
        default=None, description="The only type of abnormality that the task applies to"
    )
    min_patients: int = Field(
        default=2, ge=1, description="Patients that each class needs in training and in test"
    )

    @model_validator(mode="after")
    def _consistent(self) -> "TaskConfig":
        if self.values and len(self.values) != len(self.classes):
            raise ValueError(f"{len(self.values)} values for {len(self.classes)} classes")
        if self.positive and (self.kind != "binary" or self.classes):
            raise ValueError("`positive` is for binary tasks without `classes`")
        if self.kind == "binary" and not self.positive and len(self.classes) != 2:
            raise ValueError("a binary task needs two classes, or the values that are `positive`")
        return self


TASKS: dict[str, TaskConfig] = {
    task.name: task
    for task in (
        TaskConfig(
            name="pathology4",
            kind="single",
            column="pathology",
            by="abnormality_type",
            classes=("benign mass", "malignant mass", "benign calc", "malignant calc"),
            values=(
                "BENIGN mass",
                "MALIGNANT mass",
                "BENIGN calcification",
                "MALIGNANT calcification",
            ),
        ),
        TaskConfig(
            name="pathology",
            kind="binary",
            column="pathology",
            classes=("benign", "malignant"),
            values=("BENIGN", "MALIGNANT"),
        ),
        TaskConfig(
            name="mass_shape",
            kind="multi",
            column="mass_shape",
            classes=MASS_SHAPES,
            abnormality_type="mass",
        ),
        TaskConfig(
            name="mass_margins",
            kind="multi",
            column="mass_margins",
            classes=MASS_MARGINS,
            abnormality_type="mass",
        ),
        TaskConfig(
            name="calc_type",
            kind="multi",
            column="calc_type",
            classes=CALC_TYPES,
            merge={"LUCENT_CENTER": "LUCENT_CENTERED"},
            abnormality_type="calcification",
        ),
        TaskConfig(
            name="calc_distribution",
            kind="multi",
            column="calc_distribution",
            classes=CALC_DISTRIBUTIONS,
            abnormality_type="calcification",
        ),
        TaskConfig(name="density", kind="single", column="density", classes=("1", "2", "3", "4")),
        # 0 is an incomplete assessment, and CBIS-DDSM has three lesions of assessment 1.
        TaskConfig(
            name="assessment", kind="single", column="assessment", classes=("2", "3", "4", "5")
        ),
    )
}
"""The tasks that CBIS-DDSM supports."""
