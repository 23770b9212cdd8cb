"""The controls pipeline: `kedro run --pipeline controls --namespaces mae`. No part of the study."""

from kedro.pipeline import Node, Pipeline

from miram.models.methods import METHODS
from miram.pipelines.controls.nodes import run_controls
from miram.pipelines.namespaces import for_each


def create_pipeline(**_: object) -> Pipeline:
    """Evaluate every method where there is nothing to find."""
    data = ["encoder", "features", "crops", "splits", "lesions"]
    node = Node(
        run_controls,
        inputs=[*data, "params:features", "params:evaluation"],
        outputs="controls",
        name="run_controls",
    )
    return for_each(Pipeline([node]), METHODS)
