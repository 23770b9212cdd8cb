"""Nodes of the baselines pipeline: one row per lesion, `lesion_id` and `f0`, `f1`..."""

from collections.abc import Callable

import pandas as pd

from miram.integrations.deferred import HandcraftedConfig
from miram.mammography.crops.store import CropStore

_BOX = ["box_x0", "box_y0", "box_x1", "box_y1"]


def describing(baseline: str) -> Callable[..., pd.DataFrame]:
    """The node of one of the hand-crafted baselines."""

    def describe_lesions(
        crops: CropStore, splits: pd.DataFrame, config: HandcraftedConfig, encoder_size: int
    ) -> pd.DataFrame:
        """Describe every lesion; the table has its origin, which the metrics repeat."""
        from miram.evaluation.features.handcrafted import DESCRIPTIONS, Lesions

        ids, rows = splits["lesion_id"], crops.rows(splits["lesion_id"])
        boxes = crops.manifest.iloc[rows][_BOX].to_numpy()
        lesions = Lesions(ids, crops.crops[rows], crops.masks[rows], boxes, encoder_size)
        table = DESCRIPTIONS[baseline](lesions, config)
        table.attrs["origin"] = {"crops": crops.digest}
        return table

    return describe_lesions
