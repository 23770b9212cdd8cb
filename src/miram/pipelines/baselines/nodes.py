"""Nodes of the baselines pipeline: one row per lesion, `lesion_id` and `f0`, `f1`..."""

from typing import TYPE_CHECKING

import pandas as pd

from miram.integrations.deferred import deferred
from miram.mammography.crops.store import CropStore

if TYPE_CHECKING:
    from miram.evaluation.features.handcrafted import HandcraftedConfig
else:
    HandcraftedConfig = deferred("miram.evaluation.features.handcrafted", "HandcraftedConfig")

_BOX = ["box_x0", "box_y0", "box_x1", "box_y1"]


def describe_by_hog(
    crops: CropStore, splits: pd.DataFrame, config: HandcraftedConfig
) -> pd.DataFrame:
    """Describe every lesion by histograms of oriented gradients."""
    from miram.evaluation.features.handcrafted import hog

    lesion_ids = splits["lesion_id"]
    return _of(hog(lesion_ids, crops.crops[crops.rows(lesion_ids)], config.hog), crops)


def describe_by_lbp(
    crops: CropStore, splits: pd.DataFrame, config: HandcraftedConfig
) -> pd.DataFrame:
    """Describe every lesion by local binary patterns."""
    from miram.evaluation.features.handcrafted import lbp

    lesion_ids = splits["lesion_id"]
    return _of(lbp(lesion_ids, crops.crops[crops.rows(lesion_ids)], config.lbp), crops)


def describe_by_intensity(
    crops: CropStore, splits: pd.DataFrame, config: HandcraftedConfig
) -> pd.DataFrame:
    """Describe every lesion by its grey levels."""
    from miram.evaluation.features.handcrafted import intensity

    rows = crops.rows(splits["lesion_id"])
    pixels, masks = crops.crops[rows], crops.masks[rows]
    return _of(intensity(splits["lesion_id"], pixels, masks, config.intensity), crops)


def describe_by_box_size(
    crops: CropStore, splits: pd.DataFrame, config: HandcraftedConfig
) -> pd.DataFrame:
    """Describe every lesion by the size of its box."""
    from miram.evaluation.features.handcrafted import box_size

    boxes = crops.manifest.iloc[crops.rows(splits["lesion_id"])][_BOX].to_numpy()
    return _of(box_size(splits["lesion_id"], boxes, config.box_size), crops)


def _of(table: pd.DataFrame, crops: CropStore) -> pd.DataFrame:
    """The table with its origin, which a Parquet file keeps and the metrics repeat."""
    table.attrs["origin"] = {"crops": crops.digest}
    return table
