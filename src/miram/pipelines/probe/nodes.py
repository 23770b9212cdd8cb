"""Nodes of the probe pipeline; torch is imported when a node runs."""

from typing import TYPE_CHECKING, Any

import pandas as pd

from miram.integrations.deferred import deferred
from miram.mammography.crops.store import CropStore

if TYPE_CHECKING:
    from miram.evaluation.config import AssessmentConfig
    from miram.evaluation.features.cache import FeaturePlan
    from miram.evaluation.features.pooling import FeatureConfig
    from miram.models.checkpoints.files import EncoderCheckpoint
else:
    AssessmentConfig = deferred("miram.evaluation.config", "AssessmentConfig")
    FeatureConfig = deferred("miram.evaluation.features.pooling", "FeatureConfig")
    EncoderCheckpoint = FeaturePlan = Any


def encode_lesions(
    encoder: EncoderCheckpoint, crops: CropStore, splits: pd.DataFrame, config: FeatureConfig
) -> FeaturePlan:
    """Plan to encode every lesion of the splits, once for all tasks.

    Args:
        encoder: The frozen encoder.
        crops: The crop store.
        splits: Which lesions.
        config: How tokens become one vector.

    Returns:
        A plan, carried out when it is saved, unless the very same features are there. They have
        one row per lesion and `seed`: `lesion_id` and `f0`, `f1` and so on; for a method with one
        encoder per fold, one row per lesion, seed and `fold`.

    Raises:
        MiramError: The encoder was trained under other splits.
    """
    from miram.evaluation.features.cache import plan_features
    from miram.models.checkpoints.split_record import SPLITS, require_same_splits

    require_same_splits(encoder.metadata.get(SPLITS), splits)
    return plan_features(encoder, crops, splits["lesion_id"], config)


def assess_encoder(
    features: pd.DataFrame, lesions: pd.DataFrame, splits: pd.DataFrame, config: AssessmentConfig
) -> tuple[dict[str, Any], pd.DataFrame]:
    """Fit probes on frozen features and judge them on patients they have not seen.

    Args:
        features: One row per lesion and seed.
        lesions: The lesion table.
        splits: Which lesion is on which side.
        config: Tasks and statistics.

    Returns:
        Figures with intervals, and the predictions behind them.
    """
    from miram.evaluation.assess import assess_seeds
    from miram.evaluation.probes.fold_features import features_to_judge

    by_seed = features_to_judge(features, splits, config.seeds)
    assessment = assess_seeds(by_seed, lesions, splits, config)
    # Which encoder, crops and settings the figures are of; empty for features from elsewhere.
    origin = features.attrs.get("origin", {})
    return {**assessment.metrics, "features": origin}, assessment.predictions


def describe_predictions(
    predictions: pd.DataFrame,
    metrics: dict[str, Any],
    lesions: pd.DataFrame,
    config: AssessmentConfig,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Ask predictions how well they are calibrated, and whether figures hold in all subgroups.

    Args:
        predictions: Predictions of `assess_encoder`.
        metrics: Figures of `assess_encoder`.
        lesions: The lesion table.
        config: Subgroups and statistics.

    Returns:
        Reliability curves, and figures by subgroup.

    Raises:
        MiramError: There is no column of that name to split figures up by.
    """
    from miram.evaluation.assess import require_subgroups
    from miram.evaluation.prediction_tables import calibration_table, subgroup_metrics

    require_subgroups(lesions, config)
    return (
        calibration_table(predictions, metrics),
        subgroup_metrics(predictions, lesions, metrics, config),
    )


def measure_label_efficiency(
    features: pd.DataFrame, lesions: pd.DataFrame, splits: pd.DataFrame, config: AssessmentConfig
) -> pd.DataFrame:
    """Judge probes that learned from shares of the training patients, where that is asked for.

    Args:
        features: One row per lesion and seed.
        lesions: The lesion table.
        splits: Which lesion is on which side.
        config: Tasks, shares and draws.

    Returns:
        Figures by task and share; empty unless `label_efficiency.enabled`.
    """
    from miram.evaluation.label_efficiency import COLUMNS, label_efficiency_table
    from miram.evaluation.probes.fold_features import features_to_judge

    if not config.label_efficiency.enabled:
        return pd.DataFrame(columns=list(COLUMNS))
    by_seed = features_to_judge(features, splits, config.seeds)
    return label_efficiency_table(by_seed, lesions, splits, config)
