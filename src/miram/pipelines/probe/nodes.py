"""Nodes of the probe pipeline; torch is imported when a node runs."""

from typing import TYPE_CHECKING, Any

import pandas as pd

from miram.integrations.deferred import deferred
from miram.mammography.crop_store import CropStore

if TYPE_CHECKING:
    from miram.evaluation.assessment import AssessmentConfig
    from miram.evaluation.features import FeatureConfig
    from miram.models.checkpoints import EncoderCheckpoint
else:
    AssessmentConfig = deferred("miram.evaluation.assessment", "AssessmentConfig")
    FeatureConfig = deferred("miram.evaluation.features", "FeatureConfig")
    EncoderCheckpoint = Any


def encode_lesions(
    encoder: EncoderCheckpoint, crops: CropStore, splits: pd.DataFrame, config: FeatureConfig
) -> pd.DataFrame:
    """Encode every lesion of the splits once, for all tasks.

    Args:
        encoder: The frozen encoder.
        crops: The crop store.
        splits: Which lesions.
        config: How tokens become one vector.

    Returns:
        One row per lesion: `lesion_id` and the features, `f0`, `f1` and so on; for a method
        with one encoder per fold, one row per lesion and `fold`.
    """
    from miram.evaluation.features import feature_table

    lesion_ids = splits["lesion_id"]
    rows = crops.rows(lesion_ids)
    return feature_table(encoder, lesion_ids, crops.crops[rows], crops.masks[rows], config)


def assess_encoder(
    features: pd.DataFrame, lesions: pd.DataFrame, splits: pd.DataFrame, config: AssessmentConfig
) -> tuple[dict[str, Any], pd.DataFrame]:
    """Fit probes on frozen features and judge them on patients they have not seen.

    Args:
        features: One row per lesion.
        lesions: The lesion table.
        splits: Which lesion is on which side.
        config: Tasks and statistics.

    Returns:
        Figures with intervals, and the predictions behind them.
    """
    from miram.evaluation.assessment import assess_features
    from miram.evaluation.fold_features import features_by_fold

    by_fold = features_by_fold(features, splits["lesion_id"])
    assessment = assess_features(by_fold, lesions, splits, config)
    return assessment.metrics, assessment.predictions
