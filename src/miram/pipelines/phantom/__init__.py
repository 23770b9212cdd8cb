"""Write synthetic mammograms where there are no real ones."""

from kedro.pipeline import Node, Pipeline

from miram.pipelines.phantom.nodes import write_phantom


def create_pipeline(**_: object) -> Pipeline:
    """Write the phantom into the folder of raw mammograms."""
    node = Node(
        write_phantom,
        inputs=["params:source", "params:phantom"],
        outputs="mammograms",
        name="write_phantom",
    )
    return Pipeline([node])
