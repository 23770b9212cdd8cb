"""Nodes of the rois pipeline."""

from functools import partial
from pathlib import Path

import pandas as pd
from joblib import cpu_count

from miram.mammography.crops.cut import CropConfig
from miram.mammography.crops.plan import build_crop_store, plan_crops
from miram.mammography.crops.store import CropStore
from miram.mammography.pseudonyms import file_names, with_own_names, with_pseudonyms
from miram.mammography.splits import SplitConfig, assign_splits
from miram.training.distributed.cluster import EngineConfig, cropping_backend


def cut_crops(
    lesions: pd.DataFrame,
    mammograms: Path,
    config: CropConfig,
    engine: EngineConfig,
    folder: Path,
    identities: pd.DataFrame,
) -> CropStore:
    """Cut what the folder does not hold yet, in parallel and resumably."""
    plan = plan_crops(
        lesions,
        mammograms,
        config,
        workers=cpu_count() if engine.kind == "local" else -1,
        backend=partial(cropping_backend, engine),
        names=file_names(identities),
    )
    return build_crop_store(plan, folder)


def split_lesions(
    lesions: pd.DataFrame, crops: CropStore, config: SplitConfig, identities: pd.DataFrame
) -> pd.DataFrame:
    """Split the lesions that have a crop, by patient.

    Parts follow from the order of names. It is that of the own names, so that a patient is in the
    same part whatever the key.

    Returns:
        One row per lesion with its split.
    """
    cut = lesions[lesions["lesion_id"].isin(crops.manifest["crop_id"])]
    splits = assign_splits(with_own_names(cut, identities), config)
    return with_pseudonyms(splits, identities)
