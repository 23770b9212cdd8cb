"""From crops to hand-crafted features and their metrics, one namespace per baseline."""

from kedro.pipeline import Node, Pipeline

from miram.models.methods import BASELINES
from miram.pipelines.baselines.nodes import describing
from miram.pipelines.namespaces import for_each
from miram.pipelines.probe.nodes import evaluate_features


def create_pipeline(**_: object) -> Pipeline:
    """Evaluate every baseline by the same probes on the same patients as the encoders."""
    return sum((for_each(_template(name), [name]) for name in BASELINES), start=Pipeline([]))


def _template(baseline: str) -> Pipeline:
    describe = Node(
        describing(baseline),
        inputs=["crops", "splits", "params:handcrafted", "params:encoder.image_size"],
        outputs="features",
        name="describe_lesions",
    )
    evaluate = Node(
        evaluate_features,
        inputs=["features", "lesions", "splits", "params:evaluation"],
        outputs="evaluation",
        name="evaluate_features",
    )
    return Pipeline([describe, evaluate])
