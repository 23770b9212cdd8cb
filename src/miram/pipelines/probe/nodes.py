"""Nodes of the probe pipeline; torch is imported when a node runs."""

import logging

import pandas as pd

from miram.evaluation.results import Evaluation
from miram.integrations.deferred import AssessmentConfig, EncoderCheckpoint, FeatureConfig
from miram.mammography.crops.store import CropStore
from miram.training.distributed.cluster import EngineConfig
from miram.training.distributed.launch import launch_on_cores

log = logging.getLogger(__name__)


def encode_lesions(
    encoder: EncoderCheckpoint,
    crops: CropStore,
    splits: pd.DataFrame,
    config: FeatureConfig,
    stored: pd.DataFrame | None,
) -> pd.DataFrame:
    """Encode every lesion of the splits once for all tasks, or take what an earlier run encoded.

    `stored` features are taken over if encoder, crops, lesions and settings are the same.

    Returns:
        One row per lesion and `seed`: `lesion_id` and `f0`, `f1` and so on; for a method with one
        encoder per fold, one row per lesion, seed and `fold`.

    Raises:
        MiramError: The encoder was trained under other splits.
    """
    from miram.evaluation.features.extract import (
        ORIGIN,
        TRAINED_ON,
        feature_origin,
        feature_table,
    )
    from miram.models.checkpoints.split_record import SPLITS, require_same_splits

    require_same_splits(encoder.metadata.get(SPLITS), splits)
    lesions = splits["lesion_id"]
    origin = feature_origin(encoder, crops, lesions, config)
    if TRAINED_ON in origin:
        log.warning(
            "the encoder was trained on the crops %s, those at hand are %s: the data or the "
            "settings of rois changed; run pretrain again unless that is meant",
            origin[TRAINED_ON],
            crops.digest,
        )
    if stored is not None and stored.attrs.get(ORIGIN) == origin:
        log.info(
            "the features of encoder %s on crops %s are there: nothing to encode",
            origin["encoder"],
            origin["crops"],
        )
        return stored
    rows = crops.rows(lesions)
    found = feature_table(encoder, lesions, crops.crops[rows], crops.masks[rows], config)
    found.attrs[ORIGIN] = origin  # which a Parquet file keeps
    return found


def evaluate_features(
    features: pd.DataFrame,
    lesions: pd.DataFrame,
    splits: pd.DataFrame,
    config: AssessmentConfig,
    engine: EngineConfig,
) -> Evaluation:
    """Fit probes on features and evaluate them on patients they have not seen."""
    from miram.evaluation.evaluate import evaluate_table

    return launch_on_cores(evaluate_table, features, lesions, splits, config, engine=engine)


def evaluate_encoder(
    features: pd.DataFrame,
    lesions: pd.DataFrame,
    splits: pd.DataFrame,
    config: AssessmentConfig,
    engine: EngineConfig,
) -> Evaluation:
    """Evaluate an encoder's features, also by subgroup, calibration and number of labels.

    Raises:
        MiramError: A column to split metrics up by does not exist.
    """
    from miram.evaluation.evaluate import evaluate_table_in_detail

    return launch_on_cores(
        evaluate_table_in_detail, features, lesions, splits, config, engine=engine
    )
