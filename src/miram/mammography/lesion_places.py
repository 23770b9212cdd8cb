"""Which lesions have a place, and which images may hold one whose place nobody knows.

A background patch must not lie on a lesion. So none is cut from an image while a lesion of it
is known to be there but not where: left out at ingestion, labelled without a mask or a box, or
marked in another image of the same breast and view only.
"""

from collections.abc import Collection, Mapping
from typing import Any

import pandas as pd

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
    """Name the labels of a row that speak of a lesion; density, for one, does not.

    Args:
        row: Columns of the lesion table.
        but: Labels that do not count.

    Returns:
        Names of the columns. An assessment speaks of a lesion unless it is 1, negative.
    """
    names = [name for name in _LESION_LABELS if name not in but and _given(row.get(name))]
    assessment = row.get("assessment")
    return names + ["assessment"] * (_given(assessment) and assessment != _NEGATIVE)


def has_place(lesions: pd.DataFrame) -> pd.Series:
    """Tell which rows of a lesion table have a mask or a box.

    Args:
        lesions: The lesion table; the columns of the box may be absent.

    Returns:
        True or False per row.
    """
    masked = lesions["mask_paths"].map(len).astype(int) > 0
    if not set(BOX) <= set(lesions):
        return masked
    return masked | lesions[list(BOX)].notna().all(axis=1)


def mark_unplaced(lesions: pd.DataFrame, unplaced: pd.DataFrame) -> pd.DataFrame:
    """Mark the images that may hold a lesion without a place.

    Args:
        lesions: Rows that become the lesion table.
        unplaced: Lesions that are known to be but not where, as far as their `image_id`,
            `image_path`, `patient_id`, `laterality` and `view` are known.

    Returns:
        `lesions` with `unplaced_lesion`: whether one of `unplaced` lies in the image, in its
        file, or in the same view of the same breast.
    """
    doubtful = pd.Series(False, index=lesions.index)
    for names in (_IMAGE, _FILE, _VIEW):
        doubtful |= _keys(lesions, names).isin(set(_keys(unplaced, names).dropna()))
    return lesions.assign(unplaced_lesion=doubtful)


def marked_elsewhere(lesions: pd.DataFrame) -> pd.Series:
    """Tell which rows belong to an image with a lesion that is marked in another image.

    Args:
        lesions: The lesion table.

    Returns:
        Per row, whether another `image_id` of the same file, or of the same view of the same
        breast, has a lesion with a place. Where side or view are missing, only the file counts.
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
