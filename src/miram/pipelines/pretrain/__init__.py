"""From crops to encoders, one namespace per method."""

from collections.abc import Callable

from kedro.pipeline import Node, Pipeline

from miram.models.methods import METHODS, SUPERVISED
from miram.pipelines.namespaces import for_each
from miram.pipelines.pretrain.nodes import pretrain_encoder, train_supervised_encoder

_PARAMETERS = ("encoder", "method", "training", "evaluation", "engine")
_INPUTS = ["crops", "splits", "lesions", *(f"params:{n}" for n in _PARAMETERS), "training_folder"]


def create_pipeline(**_: object) -> Pipeline:
    """Train every method on the same crops with the same budget."""
    return for_each(
        _trained(pretrain_encoder, ["encoder", "pretrained", "training_record"]),
        [name for name in METHODS if name != SUPERVISED],
    ) + for_each(
        _trained(train_supervised_encoder, ["encoder", "training_record"]),
        [SUPERVISED],
    )


def _trained(node: Callable[..., object], outputs: list[str]) -> Pipeline:
    return Pipeline([Node(node, inputs=_INPUTS, outputs=outputs, name=node.__name__)])
