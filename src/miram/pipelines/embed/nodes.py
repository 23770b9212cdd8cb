"""Nodes of the embed pipeline; torch is imported when a node runs."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from miram.integrations.deferred import deferred
from miram.mammography.cropping import CropConfig

if TYPE_CHECKING:
    from miram.evaluation.embedding import EmbeddingConfig, EmbeddingPlan
    from miram.evaluation.pooling import FeatureConfig
else:
    EmbeddingConfig = deferred("miram.evaluation.embedding", "EmbeddingConfig")
    FeatureConfig = deferred("miram.evaluation.pooling", "FeatureConfig")
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
    from miram.evaluation.embedding import plan_embedding
    from miram.integrations.embedding import find_mammograms
    from miram.integrations.registry.loading import load_predictor
    from miram.integrations.registry.tracking import running_tracking

    predictor = load_predictor(
        embed.model, lambda: running_tracking().tracking_uri, lambda: (rois, features)
    )
    ingested = find_mammograms(mammograms, source, options.get(source), predictor)
    return plan_embedding(ingested, mammograms, predictor, embed)
