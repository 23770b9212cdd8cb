"""Features of new mammograms: `kedro run --pipeline embed --params raw_root=...,source=...`."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from kedro.pipeline import Node, Pipeline

from miram.integrations.deferred import EmbeddingConfig, FeatureConfig
from miram.mammography.crops.cut import CropConfig


def embed_mammograms(
    mammograms: Path,
    source: str,
    options: dict[str, Any],
    rois: CropConfig,
    features: FeatureConfig,
    embed: EmbeddingConfig,
    table: Path,
) -> dict[str, Any]:
    """Find mammograms, decode and encode what is not done yet, and write the table of features.

    The table can be larger than memory, so it is written row group by row group, here.

    Returns:
        The table, and how many mammograms, rows and files left out it has.
    """
    from miram.integrations.embedding import find_mammograms
    from miram.integrations.mlflow.hook import running_hook
    from miram.serving.embed import embed as write_table
    from miram.serving.embed import plan_embedding
    from miram.serving.registry.versions import load_predictor

    predictor = load_predictor(
        embed.model, lambda: running_hook().config.tracking_uri, lambda: (rois, features)
    )
    ingested = find_mammograms(mammograms, source, options.get(source), predictor)
    summary = write_table(plan_embedding(ingested, mammograms, predictor, embed), table)
    return {"table": str(table), **asdict(summary)}


def create_pipeline(**_: object) -> Pipeline:
    """Embed what a source finds, with a registered model or an encoder's file."""
    inputs = ["mammograms", "source", "sources", "rois", "features", "embed"]
    node = Node(
        embed_mammograms,
        inputs=[inputs[0], *(f"params:{name}" for name in inputs[1:]), "embedding_table"],
        outputs="embeddings",
        name="embed_mammograms",
    )
    return Pipeline([node])
