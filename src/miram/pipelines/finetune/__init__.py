"""From encoders to fine-tuned classifiers and their metrics, one namespace per method.

`kedro run --pipeline finetune --namespaces mae`; no part of the study.
"""

from kedro.pipeline import Node, Pipeline

from miram.models.methods import METHODS
from miram.pipelines.finetune.nodes import evaluate_finetuned, finetune_encoder
from miram.pipelines.namespaces import for_each


def create_pipeline(**_: object) -> Pipeline:
    """Fine-tune every method's encoder by the same recipe; evaluate it on the same patients."""
    data = ["crops", "splits", "lesions"]
    parameters = [f"params:{name}" for name in ("finetuning", "training", "evaluation", "engine")]
    finetune = Node(
        finetune_encoder,
        inputs=["encoder", *data, *parameters, "finetuning_folder"],
        outputs=["finetuned", "finetuning_history"],
        name="finetune_encoder",
    )
    evaluate = Node(
        evaluate_finetuned,
        inputs=["finetuned", *data, "params:evaluation"],
        outputs="finetuned_evaluation",
        name="evaluate_finetuned",
    )
    return for_each([finetune, evaluate], METHODS)
