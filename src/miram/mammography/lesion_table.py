"""The lesion table: one row per usable lesion, whatever the source it came from.

The schema below is the documentation, column by column, and what `validate_lesions`
enforces when the table is saved and loaded.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import pandas as pd

from miram.errors import MiramError

Kind = Literal["text", "integer", "labels", "paths", "flag"]


@dataclass(frozen=True)
class Column:
    """One column of the lesion table.

    Attributes:
        kind: How its values are stored; `labels` and `paths` hold lists of text.
        required: Whether a missing value is an error.
        description: What the values mean, with units.
        values: The only values allowed, where the standard names them.
        span: Least and greatest whole number allowed, where the standard has such.
        names: What its values name; such a column of own data holds pseudonyms.
        always: Whether the table has the column also where the source gives no value.
    """

    name: str
    kind: Kind
    required: bool
    description: str
    values: tuple[Any, ...] = field(default=())
    span: tuple[int, int] | None = None
    names: Literal["", "patient", "lesion", "image", "file"] = ""
    always: bool = True

    @property
    def allowed(self) -> str:
        """What may stand in the column, in words."""
        if self.values:
            return ", ".join(map(str, self.values))
        return MEANT[self.kind] + (" from {} to {}".format(*self.span) if self.span else "")


LARGEST_NUMBER = 2**53  # above, CSV readers that take numbers for floats lose digits
COLUMNS = (
    Column("lesion_id", "text", True, "unique name of the lesion in one image", names="lesion"),
    Column(
        "patient_id",
        "text",
        True,
        "the patient: the unit of every split and interval",
        names="patient",
    ),
    Column(
        "image_id",
        "text",
        True,
        "unique name of the mammogram (series UID in CBIS-DDSM)",
        names="image",
    ),
    Column("laterality", "text", False, "which breast", ("LEFT", "RIGHT")),
    Column("view", "text", False, "projection, such as CC or MLO"),
    Column("abnormality_id", "integer", False, "number of the lesion within its view"),
    Column("abnormality_type", "text", False, "kind of lesion", ("mass", "calcification")),
    Column(
        "pathology",
        "text",
        False,
        "biopsy or follow-up result",
        ("BENIGN", "MALIGNANT", "BENIGN_WITHOUT_CALLBACK"),
    ),
    Column("density", "integer", False, "BI-RADS breast density, 1 to 4", span=(1, 4)),
    Column("assessment", "integer", False, "BI-RADS assessment, 0 (incomplete) to 6", span=(0, 6)),
    Column("subtlety", "integer", False, "1 (subtle) to 5 (obvious)", span=(1, 5)),
    Column("mass_shape", "labels", False, "BI-RADS mass shapes"),
    Column("mass_margins", "labels", False, "BI-RADS mass margins"),
    Column("calc_type", "labels", False, "BI-RADS calcification types"),
    Column("calc_distribution", "labels", False, "BI-RADS calcification distributions"),
    Column("official_split", "text", False, "the data set's own split", ("train", "test")),
    Column("leaks", "flag", True, "the patient is in both parts of the official split"),
    Column("image_path", "text", True, "full mammogram, relative to the raw root", names="file"),
    Column(
        "mask_paths",
        "paths",
        True,
        "lesion masks, relative to the raw root; may be empty",
        names="file",
    ),
    Column("source_bits", "integer", False, "bits stored per pixel in the image file"),
    Column("image_rows", "integer", False, "height of the mammogram in pixels"),
    Column("image_columns", "integer", False, "width of the mammogram in pixels"),
    Column("box_x0", "integer", False, "left edge of a box that stands in for a mask, pixels"),
    Column("box_y0", "integer", False, "its upper edge"),
    Column("box_x1", "integer", False, "one past its right edge"),
    Column("box_y1", "integer", False, "one past its lower edge"),
    Column("repairs", "labels", False, "codes of the repairs made on this lesion"),
    Column(
        "unplaced_lesion",
        "flag",
        False,
        "a lesion of this image, or of this breast and view, was left out or has no mask and no "
        "box: no background patches are cut",
    ),
    Column(
        "photometric",
        "text",
        False,
        "what grey levels mean where the file does not say it: low ones are bright (MONOCHROME1) "
        "or dark; only where a source is given it",
        ("MONOCHROME1", "MONOCHROME2"),
        always=False,
    ),
)
BY_NAME = {column.name: column for column in COLUMNS}

_DTYPES = {"text": "string", "integer": "Int64", "flag": "bool"}
MEANT: dict[Kind, str] = {
    "text": "text",
    "integer": "whole numbers",
    "flag": "true or false",
    "labels": "lists of labels",
    "paths": "lists of paths",
}


def validate_lesions(lesions: pd.DataFrame) -> pd.DataFrame:
    """Check a lesion table and give its columns the types and the order of `COLUMNS`.

    Absent optional columns are added as missing; further ones (a lab's own labels) are kept.

    Raises:
        MiramError: A required value is missing, a value is not allowed, or a lesion
            occurs twice.
    """
    lesions = lesions.copy()
    for column in COLUMNS:
        if column.always or column.name in lesions:
            lesions[column.name] = _checked(lesions, column)
    repeated = lesions["lesion_id"][lesions["lesion_id"].duplicated()]
    if len(repeated):
        raise MiramError(
            f"lesion {repeated.iloc[0]} occurs more than once in the lesion table: "
            "every lesion needs its own lesion_id"
        )
    named = [column.name for column in COLUMNS if column.name in lesions]
    return lesions[[*named, *(name for name in lesions.columns if name not in named)]]


def _checked(lesions: pd.DataFrame, column: Column) -> pd.Series:
    if column.name not in lesions:
        if column.required and len(lesions):
            raise MiramError(f"the lesion table has no column {column.name}: {column.description}")
        values = pd.Series([None] * len(lesions), index=lesions.index, dtype=object)
    else:
        values = lesions[column.name]
    values = _converted(values, column)
    missing = values.isna()
    if column.kind == "text":
        missing |= values.eq("").fillna(False)
    if column.required and missing.any():
        where = lesions.loc[missing, "lesion_id"].iloc[0]
        raise MiramError(f"lesion {where} has no {column.name}: {column.description}")
    wrong = values[values.notna() & ~_allowed(values, column)]
    if len(wrong):
        where = lesions.loc[wrong.index[0], "lesion_id"]
        raise MiramError(
            f"lesion {where} has {column.name} {wrong.tolist()[0]!r}; allowed: {column.allowed}"
        )
    return values


def _allowed(values: pd.Series, column: Column) -> pd.Series:
    if column.span:
        return values.between(*column.span).fillna(False)
    if column.values:
        return values.isin(column.values)
    return pd.Series(True, index=values.index)


def _converted(values: pd.Series, column: Column) -> pd.Series:
    if column.kind not in _DTYPES:
        return values.map(_as_list).astype(object)
    try:
        return values.astype(_DTYPES[column.kind])
    except (TypeError, ValueError) as error:
        raise MiramError(
            f"the column {column.name} of the lesion table must hold {MEANT[column.kind]} "
            f"({column.description}): {error}"
        ) from error


def _as_list(value: Any) -> list[str] | None:
    if isinstance(value, str):
        return [value]
    if value is None or pd.api.types.is_scalar(value):
        return None
    return [str(item) for item in value]


BOX = ("box_x0", "box_y0", "box_x1", "box_y1")

_LESION_LABELS = (
    "abnormality_type",
    "pathology",
    "subtlety",
    "mass_shape",
    "mass_margins",
    "calc_type",
    "calc_distribution",
)
_NEGATIVE = 1  # BI-RADS assessment of a breast without any finding, benign ones included
_IMAGE = ("image_id",)
_FILE = ("image_path",)
# Two films of one breast and view show the same lesions: 71 such pairs are in CBIS-DDSM.
_VIEW = ("patient_id", "laterality", "view")


def lesion_labels(row: Mapping[str, Any], but: Collection[str] = ()) -> list[str]:
    """Name the labels of a row that speak of a lesion, `but` some; density, for one, does not.

    An assessment speaks of a lesion unless it is 1, negative.
    """
    names = [name for name in _LESION_LABELS if name not in but and _given(row.get(name))]
    assessment = row.get("assessment")
    return names + ["assessment"] * (_given(assessment) and assessment != _NEGATIVE)


def leaking_patients(lesions: pd.DataFrame) -> list[str]:
    """Patients in both parts of the official split, which was drawn per abnormality type."""
    splits = lesions.groupby("patient_id")["official_split"].nunique()
    return sorted(splits.index[splits > 1])


def has_place(lesions: pd.DataFrame) -> pd.Series:
    """Which rows of a lesion table have a mask or a box; the columns of the box may be absent."""
    masked = lesions["mask_paths"].map(len).astype(int) > 0
    if not set(BOX) <= set(lesions):
        return masked
    return masked | lesions[list(BOX)].notna().all(axis=1)


def mark_unplaced(lesions: pd.DataFrame, unplaced: pd.DataFrame) -> pd.DataFrame:
    """Mark the images that may hold a lesion without a place in the column `unplaced_lesion`.

    `unplaced` are lesions that are known to exist but not where. One of them may lie in the image,
    in its file, or in the same view of the same breast, as far as these are known.
    """
    doubtful = pd.Series(False, index=lesions.index)
    for names in (_IMAGE, _FILE, _VIEW):
        doubtful |= _keys(lesions, names).isin(set(_keys(unplaced, names).dropna()))
    return lesions.assign(unplaced_lesion=doubtful)


def marked_elsewhere(lesions: pd.DataFrame) -> pd.Series:
    """Which rows belong to an image with a lesion that is marked in another image.

    That is, another `image_id` of the same file, or of the same view of the same breast, has a
    lesion with a place. Without laterality or view only the file counts.
    """
    placed = has_place(lesions)
    elsewhere = pd.Series(False, index=lesions.index)
    for names in (_FILE, _VIEW):
        keys = _keys(lesions, names)
        images = lesions["image_id"][placed].groupby(keys[placed]).agg(set)
        several = images[images.map(len) > 1].index
        only = images[images.map(len) == 1].map(lambda found: next(iter(found)))
        its_only = keys.map(only)
        elsewhere |= keys.isin(several) | (its_only.notna() & (its_only != lesions["image_id"]))
    return elsewhere


def _given(value: Any) -> bool:
    return value is not None and (not pd.api.types.is_scalar(value) or not pd.isna(value))


def _keys(rows: pd.DataFrame, names: tuple[str, ...]) -> pd.Series:
    """Join columns to one text per row, None where one is missing."""
    if not set(names) <= set(rows):
        return pd.Series([None] * len(rows), index=rows.index, dtype=object)
    cells = zip(*(rows[name] for name in names), strict=True)
    keys = [repr(tuple(map(str, row))) if all(map(_given, row)) else None for row in cells]
    return pd.Series(keys, index=rows.index, dtype=object)
