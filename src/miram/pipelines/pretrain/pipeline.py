"""The pretrain pipeline: one template, one namespace per method."""

from kedro.pipeline import Node, Pipeline

from miram.models.names import METHODS
from miram.pipelines.pretrain.nodes import (
    draw_loss_curve,
    draw_reconstructions,
    pretrain_encoder,
)

SHARED_PARAMETERS = {"params:encoder", "params:training"}


def create_pipeline(**_: object) -> Pipeline:
    """Train every method on the same crops with the same budget."""
    template = Pipeline(
        [
            Node(
                pretrain_encoder,
                inputs=["crops", "splits", "params:encoder", "params:method", "params:training"],
                outputs=["encoder", "history", "reconstructions"],
                name="pretrain_encoder",
            ),
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
    return sum(
        (
            Pipeline(
                template,
                namespace=method,
                inputs={"crops", "splits"},
                parameters=SHARED_PARAMETERS,
            )
            for method in METHODS
        ),
        start=Pipeline([]),
    )
