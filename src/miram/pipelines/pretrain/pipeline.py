"""The pretrain pipeline: one template, one namespace per method."""

from kedro.pipeline import Node, Pipeline

from miram.models.names import METHODS, SUPERVISED
from miram.pipelines.pretrain.nodes import (
    draw_loss_curve,
    draw_reconstructions,
    pretrain_encoder,
    train_supervised_encoder,
)

SHARED = {"crops", "splits", "lesions"}
SHARED_PARAMETERS = {"params:encoder", "params:training", "params:probe"}


def create_pipeline(**_: object) -> Pipeline:
    """Train every method on the same crops with the same budget."""
    return sum((_of_method(method) for method in METHODS), start=Pipeline([]))


def _of_method(method: str) -> Pipeline:
    template = Pipeline(
        [
            _supervised_node() if method == SUPERVISED else _pretraining_node(),
            Node(
                draw_loss_curve,
                inputs="history",
                outputs="loss_curve",
                name="draw_loss_curve",
            ),
            Node(
                draw_reconstructions,
                inputs="reconstructions",
                outputs="reconstruction_sheet",
                name="draw_reconstructions",
            ),
        ]
    )
    return Pipeline(
        template,
        namespace=method,
        inputs=SHARED & template.inputs(),
        parameters=SHARED_PARAMETERS & template.inputs(),
    )


def _pretraining_node() -> Node:
    return Node(
        pretrain_encoder,
        inputs=["crops", "splits", "params:encoder", "params:method", "params:training"],
        outputs=["encoder", "history", "reconstructions"],
        name="pretrain_encoder",
    )


def _supervised_node() -> Node:
    return Node(
        train_supervised_encoder,
        inputs=[
            "crops",
            "splits",
            "lesions",
            "params:encoder",
            "params:method",
            "params:training",
            "params:probe",
        ],
        outputs=["encoder", "history", "reconstructions"],
        name="pretrain_encoder",
    )
