"""What each attention costs on this machine, and how far it is from softmax in a trained decoder.

`kedro run --pipeline benchmark`, after a study with `miram_softmax`; no part of the study.
"""

from kedro.pipeline import Node, Pipeline

from miram.pipelines.benchmark.nodes import measure_attentions, write_page


def create_pipeline(**_: object) -> Pipeline:
    """Measure all attentions that are asked, and say from which size on each pays."""
    return Pipeline(
        [
            Node(
                measure_attentions,
                inputs=["params:benchmark", "miram_softmax.pretrained", "crops"],
                outputs=["attention_costs", "attention_distances"],
                name="measure_attentions",
            ),
            Node(
                write_page,
                inputs=["attention_costs", "attention_distances", "params:benchmark"],
                outputs="attention_page",
                name="write_page",
            ),
        ]
    )
