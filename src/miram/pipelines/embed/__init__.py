"""Features of new mammograms: `kedro run --pipeline embed --params raw_root=...,source=...`."""

from kedro.pipeline import Node, Pipeline

from miram.pipelines.embed.nodes import embed_mammograms


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
