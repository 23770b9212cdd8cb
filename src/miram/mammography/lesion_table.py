"""The lesion table: one row per usable lesion, whatever the source it came from.

The schema below is the documentation, column by column, and what `validate_lesions`
enforces when the table is saved and loaded.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

import pandas as pd

from miram.errors import MiramError

Kind = Literal["text", "integer", "labels", "paths", "flag"]


@dataclass(frozen=True)
class Column:
    """One column of the lesion table.

    Attributes:
        name: Name of the column.
        kind: How its values are stored; `labels` and `paths` hold lists of text.
        required: Whether a missing value is an error.
        description: What the values mean, with units.
        values: The only values allowed, where the standard names them.
        span: Least and greatest whole number allowed, where the standard has such.
    """

    name: str
    kind: Kind
    required: bool
    description: str
    values: tuple[Any, ...] = field(default=())
    span: tuple[int, int] | None = None

    @property
    def allowed(self) -> str:
        """What may stand in the column, in words."""
        if self.values:
            return ", ".join(map(str, self.values))
        return _MEANT[self.kind] + (" from {} to {}".format(*self.span) if self.span else "")


COLUMNS = (
    Column("lesion_id", "text", True, "unique name of the lesion in one image"),
    Column("patient_id", "text", True, "the patient: the unit of every split and interval"),
    Column("image_id", "text", True, "unique name of the mammogram (series UID in CBIS-DDSM)"),
    Column("laterality", "text", False, "breast side", ("LEFT", "RIGHT")),
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
    Column("leaks", "flag", True, "the patient is on both sides of the official split"),
    Column("image_path", "text", True, "full mammogram, relative to the raw root"),
    Column("mask_paths", "paths", True, "lesion masks, relative to the raw root; may be empty"),
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
)
AUDIT_COLUMNS = ("lesion_id", "file", "code", "action", "detail")

_DTYPES = {"text": "string", "integer": "Int64", "flag": "bool"}
_MEANT: dict[Kind, str] = {
    "text": "text",
    "integer": "whole numbers",
    "flag": "true or false",
    "labels": "lists of labels",
    "paths": "lists of paths",
}


def validate_lesions(lesions: pd.DataFrame) -> pd.DataFrame:
    """Check a lesion table and give its columns their types and order.

    Args:
        lesions: A table with at least the required columns of `COLUMNS`; absent optional
            columns are added as missing, further columns (a lab's own labels) are kept.

    Returns:
        The table in the order of `COLUMNS`.

    Raises:
        MiramError: A required value is missing, a value is not allowed, or a lesion
            occurs twice.
    """
    lesions = lesions.copy()
    for column in COLUMNS:
        lesions[column.name] = _checked(lesions, column)
    repeated = lesions["lesion_id"][lesions["lesion_id"].duplicated()]
    if len(repeated):
        raise MiramError(
            f"lesion {repeated.iloc[0]} occurs more than once in the lesion table: "
            "every lesion needs its own lesion_id"
        )
    named = [column.name for column in COLUMNS]
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
            f"the column {column.name} of the lesion table must hold {_MEANT[column.kind]} "
            f"({column.description}): {error}"
        ) from error


def _as_list(value: Any) -> list[str] | None:
    if isinstance(value, str):
        return [value]
    if value is None or pd.api.types.is_scalar(value):
        return None
    return [str(item) for item in value]


def lesion_table_markdown() -> str:
    """Write the documentation of the lesion table, column by column."""
    lines = [
        "# The lesion table",
        "",
        "`data/02_intermediate/lesions.parquet`: one row per usable lesion, whatever the source.",
        "An image in which nothing is marked has one row, with empty `mask_paths` and no box.",
        "Further columns, such as a lab's own labels, are kept at the end.",
        "",
        "| column | holds | required | meaning |",
        "|---|---|---|---|",
    ]
    for column in COLUMNS:
        allowed = f": {', '.join(f'`{value}`' for value in column.values)}" if column.values else ""
        required = "yes" if column.required else "no"
        meaning = column.description + allowed
        lines.append(f"| `{column.name}` | {_MEANT[column.kind]} | {required} | {meaning} |")
    return "\n".join([*lines, ""])


def audit_rows(rows: Iterable[dict[str, str]]) -> pd.DataFrame:
    """Make an audit table: one row per problem or repair, nothing lost.

    Args:
        rows: For each problem `lesion_id`, `file` (relative to the raw root, may be empty),
            `code` (short reason), `action` (what was done) and `detail`.

    Returns:
        A table with the columns `AUDIT_COLUMNS`, sorted, so that it is the same however
        the work was shared out.
    """
    audit = pd.DataFrame(list(rows), columns=list(AUDIT_COLUMNS), dtype="string").fillna("")
    return audit.sort_values(list(AUDIT_COLUMNS), ignore_index=True)


def summarize_audit(audit: pd.DataFrame) -> pd.DataFrame:
    """Count an audit by code and action, the most frequent first."""
    return (
        audit.groupby(["code", "action"], as_index=False)
        .size()
        .rename(columns={"size": "count"})
        .sort_values(["count", "code"], ascending=[False, True], ignore_index=True)
    )
