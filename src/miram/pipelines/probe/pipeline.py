"""The probe pipeline: one template, one namespace per method."""

from kedro.pipeline import Node, Pipeline

from miram.models.methods import METHODS
from miram.pipelines.namespaces import for_each
from miram.pipelines.probe.nodes import (
    assess_encoder,
    describe_predictions,
    encode_lesions,
    measure_label_efficiency,
)


def create_pipeline(**_: object) -> Pipeline:
    """Judge every method's encoder by the same probes on the same patients."""
    template = Pipeline(
        [
            Node(
                encode_lesions,
                inputs=["encoder", "crops", "splits", "params:features"],
                outputs="features",
                name="encode_lesions",
            ),
            Node(
                assess_encoder,
                inputs=["features", "lesions", "splits", "params:evaluation"],
                outputs=["metrics", "predictions"],
                name="assess_encoder",
            ),
            Node(
                describe_predictions,
                inputs=["predictions", "metrics", "lesions", "params:evaluation"],
                outputs=["calibration", "subgroups"],
                name="describe_predictions",
            ),
            Node(
                measure_label_efficiency,
                inputs=["features", "lesions", "splits", "params:evaluation"],
                outputs="label_efficiency",
                name="measure_label_efficiency",
            ),
        ]
    )
    return for_each(template, METHODS)
