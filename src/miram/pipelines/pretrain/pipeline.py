"""The pretrain pipeline: one template, one namespace per method."""

from kedro.pipeline import Node, Pipeline

from miram.models.methods import METHODS, SUPERVISED
from miram.pipelines.namespaces import for_each
from miram.pipelines.pretrain.nodes import (
    draw_loss_curve,
    draw_reconstructions,
    pretrain_encoder,
    train_supervised_encoder,
)


def create_pipeline(**_: object) -> Pipeline:
    """Train every method on the same crops with the same budget."""
    return sum((_of_method(method) for method in METHODS), start=Pipeline([]))


def _of_method(method: str) -> Pipeline:
    curve = Node(draw_loss_curve, inputs="history", outputs="loss_curve", name="draw_loss_curve")
    trained = _supervised() if method == SUPERVISED else _self_supervised()
    template = Pipeline([*trained, curve])
    return for_each(template, [method])


def _self_supervised() -> list[Node]:
    return [
        Node(
            pretrain_encoder,
            inputs=[
                "crops",
                "splits",
                "lesions",
                "params:encoder",
                "params:method",
                "params:training",
                "params:evaluation",
                "params:engine",
                "training_folder",
            ],
            outputs=["encoder", "pretrained", "history", "reconstructions"],
            name="pretrain_encoder",
        ),
        Node(
            draw_reconstructions,
            inputs="reconstructions",
            outputs="reconstruction_sheet",
            name="draw_reconstructions",
        ),
    ]


def _supervised() -> list[Node]:
    return [
        Node(
            train_supervised_encoder,
            inputs=[
                "crops",
                "splits",
                "lesions",
                "params:encoder",
                "params:method",
                "params:training",
                "params:evaluation",
                "params:engine",
                "training_folder",
            ],
            outputs=["encoder", "history"],
            name="train_supervised_encoder",
        )
    ]
