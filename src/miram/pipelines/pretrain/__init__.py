"""From crops to encoders, one namespace per method."""

from kedro.pipeline import Node, Pipeline

from miram.models.methods import METHODS, SUPERVISED
from miram.pipelines.namespaces import for_each
from miram.pipelines.pretrain.nodes import pretrain_encoder, train_supervised_encoder

_PARAMETERS = ("encoder", "method", "training", "evaluation", "engine")
_INPUTS = ["crops", "splits", "lesions", *(f"params:{n}" for n in _PARAMETERS), "training_folder"]


def create_pipeline(**_: object) -> Pipeline:
    """Train every method on the same crops with the same budget."""
    pretrain = Node(
        pretrain_encoder,
        inputs=_INPUTS,
        outputs=["encoder", "pretrained", "training_record"],
        name="pretrain_encoder",
    )
    supervised = Node(
        train_supervised_encoder,
        inputs=_INPUTS,
        outputs=["encoder", "training_record"],
        name="train_supervised_encoder",
    )
    unlabeled = [name for name in METHODS if name != SUPERVISED]
    return for_each([pretrain], unlabeled) + for_each([supervised], [SUPERVISED])
