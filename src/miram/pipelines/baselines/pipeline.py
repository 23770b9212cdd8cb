"""The baselines pipeline: hand-crafted features before the same probe as every encoder."""

from kedro.pipeline import Node, Pipeline

from miram.models.methods import BASELINES
from miram.pipelines.baselines import nodes
from miram.pipelines.namespaces import for_each
from miram.pipelines.probe.nodes import assess_encoder


def create_pipeline(**_: object) -> Pipeline:
    """Judge every anchor by the same probes on the same patients as the encoders."""
    return sum((_of_anchor(anchor) for anchor in BASELINES), start=Pipeline([]))


def _of_anchor(anchor: str) -> Pipeline:
    template = Pipeline(
        [
            Node(
                getattr(nodes, f"describe_by_{anchor}"),
                inputs=["crops", "splits", "params:handcrafted"],
                outputs="features",
                name="describe_lesions",
            ),
            Node(
                assess_encoder,
                inputs=["features", "lesions", "splits", "params:evaluation"],
                outputs=["metrics", "predictions"],
                name="assess_encoder",
            ),
        ]
    )
    return for_each(template, [anchor])
