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
        One row per lesion: `lesion_id` and the features, `f0`, `f1` and so on.
    """
    from miram.evaluation.features import extract_features

    lesion_ids = splits["lesion_id"]
    features = extract_features(encoder, crops.crops[crops.rows(lesion_ids)], config)
    table = pd.DataFrame(features, columns=[f"f{i}" for i in range(features.shape[1])])
    table.insert(0, "lesion_id", lesion_ids.to_numpy())
    return table


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

    values = features.set_index("lesion_id").loc[splits["lesion_id"]].to_numpy()
    assessment = assess_features(values, lesions, splits, config)
    return assessment.metrics, assessment.predictions
