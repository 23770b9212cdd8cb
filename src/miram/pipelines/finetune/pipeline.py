"""The finetune pipeline: `kedro run --pipeline finetune --namespaces mae`. No part of the study."""

from kedro.pipeline import Node, Pipeline

from miram.models.methods import METHODS
from miram.pipelines.finetune.nodes import (
    describe_finetuned,
    finetune_encoder,
    judge_finetuned,
)
from miram.pipelines.namespaces import for_each


def create_pipeline(**_: object) -> Pipeline:
    """Fine-tune every method's encoder by the same recipe and judge it on the same patients."""
    template = Pipeline(
        [
            Node(
                finetune_encoder,
                inputs=[
                    "encoder",
                    "crops",
                    "splits",
                    "lesions",
                    "params:finetuning",
                    "params:training",
                    "params:evaluation",
                    "params:engine",
                    "finetuning_folder",
                ],
                outputs=["finetuned", "finetuning_history"],
                name="finetune_encoder",
            ),
            Node(
                judge_finetuned,
                inputs=["finetuned", "crops", "splits", "lesions", "params:evaluation"],
                outputs=["finetuned_metrics", "finetuned_predictions"],
                name="judge_finetuned",
            ),
            Node(
                describe_finetuned,
                inputs=[
                    "finetuned_predictions",
                    "finetuned_metrics",
                    "lesions",
                    "params:evaluation",
                ],
                outputs=["finetuned_calibration", "finetuned_subgroups"],
                name="describe_finetuned",
            ),
        ]
    )
    return for_each(template, METHODS)
