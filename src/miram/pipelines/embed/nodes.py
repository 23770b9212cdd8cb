"""Nodes of the embed pipeline; torch is imported when a node runs."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from miram.integrations.deferred import deferred
from miram.mammography.crops.cut import CropConfig

if TYPE_CHECKING:
    from miram.evaluation.features.pooling import FeatureConfig
    from miram.serving.embed import EmbeddingConfig, EmbeddingPlan
else:
    EmbeddingConfig = deferred("miram.serving.embed", "EmbeddingConfig")
    FeatureConfig = deferred("miram.evaluation.features.pooling", "FeatureConfig")
    EmbeddingPlan = Any


def embed_mammograms(
    mammograms: Path,
    source: str,
    options: dict[str, Any],
    rois: CropConfig,
    features: FeatureConfig,
    embed: EmbeddingConfig,
) -> EmbeddingPlan:
    """Find the mammograms and plan their embedding; saving the plan decodes and encodes them.

    Args:
        mammograms: Folder of the raw data.
        source: Name of the source.
        options: Options of each source by name.
        rois: How crops are cut, for an encoder that does not say.
        features: How tokens become one vector, for an encoder that does not say.
        embed: Which model, and what becomes a row.
    """
    from miram.integrations.embedding import find_mammograms
    from miram.integrations.mlflow.hook import running_hook
    from miram.serving.embed import plan_embedding
    from miram.serving.registry.versions import load_predictor

    predictor = load_predictor(
        embed.model, lambda: running_hook().config.tracking_uri, lambda: (rois, features)
    )
    ingested = find_mammograms(mammograms, source, options.get(source), predictor)
    return plan_embedding(ingested, mammograms, predictor, embed)
