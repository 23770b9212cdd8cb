"""Nodes of the rois pipeline."""

import os
from functools import partial
from pathlib import Path

import pandas as pd

from miram.mammography.crops.cut import CropConfig
from miram.mammography.crops.plan import build_crop_store, plan_crops
from miram.mammography.crops.store import CropStore
from miram.mammography.splits import SplitConfig, assign_splits
from miram.training.distributed.cluster import EngineConfig, cropping_backend


def cut_crops(
    lesions: pd.DataFrame,
    mammograms: Path,
    config: CropConfig,
    engine: EngineConfig,
    folder: Path,
) -> CropStore:
    """Cut what the folder does not hold yet, in parallel and resumably."""
    plan = plan_crops(
        lesions,
        mammograms,
        config,
        workers=len(os.sched_getaffinity(0)) if engine.kind == "local" else -1,
        backend=partial(cropping_backend, engine),
    )
    return build_crop_store(plan, folder)


def split_lesions(lesions: pd.DataFrame, crops: CropStore, config: SplitConfig) -> pd.DataFrame:
    """Split the lesions that have a crop, by patient.

    Returns:
        One row per lesion with its split.
    """
    cut = lesions[lesions["lesion_id"].isin(crops.manifest["crop_id"])]
    return assign_splits(cut, config)
