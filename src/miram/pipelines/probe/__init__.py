"""From encoders to metrics with intervals, one namespace per method."""

from kedro.pipeline import Node, Pipeline

from miram.models.methods import METHODS
from miram.pipelines.namespaces import for_each
from miram.pipelines.probe.nodes import encode_lesions, evaluate_encoder


def create_pipeline(**_: object) -> Pipeline:
    """Evaluate every method's encoder by the same probes on the same patients."""
    encode = Node(
        encode_lesions,
        inputs=["encoder", "crops", "splits", "params:features", "stored_features"],
        outputs="features",
        name="encode_lesions",
    )
    evaluate = Node(
        evaluate_encoder,
        inputs=["features", "lesions", "splits", "params:evaluation", "params:engine"],
        outputs="evaluation",
        name="evaluate_encoder",
    )
    return for_each([encode, evaluate], METHODS)
