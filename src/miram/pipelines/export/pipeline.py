"""The export pipeline: `kedro run --pipeline export --namespaces mae`. No part of the study."""

from kedro.pipeline import Node, Pipeline

from miram.models.methods import METHODS
from miram.pipelines.export.nodes import order_exports
from miram.pipelines.namespaces import for_each


def create_pipeline(**_: object) -> Pipeline:
    """Write every method's encoder for timm, ONNX Runtime and Hugging Face."""
    template = Pipeline(
        [
            Node(
                order_exports,
                inputs=["encoder", "params:export"],
                outputs="exports",
                name="export_encoder",
            )
        ]
    )
    return for_each(template, METHODS)
