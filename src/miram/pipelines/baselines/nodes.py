"""Nodes of the baselines pipeline."""

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
    """Describe every lesion of the splits by histograms of oriented gradients.

    Args:
        crops: The crop store.
        splits: Which lesions.
        config: Settings of the anchors.

    Returns:
        One row per lesion: `lesion_id` and the features, `f0`, `f1` and so on.
    """
    from miram.evaluation.features import handcrafted

    lesion_ids = splits["lesion_id"]
    table = handcrafted.hog(lesion_ids, crops.crops[crops.rows(lesion_ids)], config.hog)
    return _of(table, crops)


def describe_by_lbp(
    crops: CropStore, splits: pd.DataFrame, config: HandcraftedConfig
) -> pd.DataFrame:
    """Describe every lesion of the splits by local binary patterns; as `describe_by_hog`."""
    from miram.evaluation.features import handcrafted

    lesion_ids = splits["lesion_id"]
    table = handcrafted.lbp(lesion_ids, crops.crops[crops.rows(lesion_ids)], config.lbp)
    return _of(table, crops)


def describe_by_intensity(
    crops: CropStore, splits: pd.DataFrame, config: HandcraftedConfig
) -> pd.DataFrame:
    """Describe every lesion of the splits by its grey levels; as `describe_by_hog`."""
    from miram.evaluation.features import handcrafted

    lesion_ids = splits["lesion_id"]
    rows = crops.rows(lesion_ids)
    pixels, masks = crops.crops[rows], crops.masks[rows]
    return _of(handcrafted.intensity(lesion_ids, pixels, masks, config.intensity), crops)


def describe_by_box_size(
    crops: CropStore, splits: pd.DataFrame, config: HandcraftedConfig
) -> pd.DataFrame:
    """Describe every lesion of the splits by the size of its box; as `describe_by_hog`."""
    from miram.evaluation.features import handcrafted

    lesion_ids = splits["lesion_id"]
    boxes = crops.manifest.iloc[crops.rows(lesion_ids)][_BOX].to_numpy()
    return _of(handcrafted.box_size(lesion_ids, boxes, config.box_size), crops)


def _of(table: pd.DataFrame, crops: CropStore) -> pd.DataFrame:
    """The table, saying what it came from; a Parquet file keeps that, and the figures tell it."""
    table.attrs["origin"] = {"crops": crops.digest}
    return table
