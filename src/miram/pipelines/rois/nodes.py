"""Nodes of the rois pipeline."""

import os
from functools import partial
from pathlib import Path

import pandas as pd

from miram.mammography.crops.cut import CropConfig
from miram.mammography.crops.plan import CropPlan, plan_crops
from miram.mammography.crops.store import CropStore
from miram.mammography.splits import SplitConfig, assign_splits
from miram.training.distributed.cluster import EngineConfig, cropping_backend


def cut_crops(
    lesions: pd.DataFrame, mammograms: Path, config: CropConfig, engine: EngineConfig
) -> CropPlan:
    """Plan the crops; the store cuts them when it is saved, in parallel and resumably.

    Args:
        lesions: The lesion table.
        mammograms: Folder of the raw data.
        config: How to cut.
        engine: Where it is cut.
    """
    local = engine.kind == "local"
    return plan_crops(
        lesions,
        mammograms,
        config,
        workers=len(os.sched_getaffinity(0)) if local else -1,
        backend=partial(cropping_backend, engine),
    )


def split_lesions(lesions: pd.DataFrame, crops: CropStore, config: SplitConfig) -> pd.DataFrame:
    """Split the lesions that have a crop, by patient.

    Args:
        lesions: The lesion table.
        crops: The crop store.
        config: How to split.

    Returns:
        One row per lesion with its side of the split.
    """
    cut = lesions[lesions["lesion_id"].isin(crops.manifest["crop_id"])]
    return assign_splits(cut, config)
