"""From raw files to the lesion table and the audit."""

from kedro.pipeline import Node, Pipeline

from miram.pipelines.ingest.nodes import ingest_lesions


def create_pipeline(**_: object) -> Pipeline:
    """Read tables and headers; decode no pixels."""
    node = Node(
        ingest_lesions,
        inputs=["mammograms", "params:source", "params:sources", "pseudonym_key"],
        outputs=["lesions", "ingest_audit", "identities"],
        name="ingest_lesions",
    )
    return Pipeline([node])
