"""What each attention costs on this machine, and how far it is from softmax in a trained decoder.

`kedro run --pipeline benchmark`, after a study with `miram_softmax`; no part of the study.
"""

import warnings

from kedro.pipeline import Node, Pipeline

from miram.pipelines.benchmark.nodes import measure_attentions, write_page


def create_pipeline(**_: object) -> Pipeline:
    """Measure all attentions that are asked, and say from which size on each pays."""
    measure = Node(
        measure_attentions,
        inputs=["params:benchmark", "pretrained", "crops"],
        outputs=["attention_costs", "attention_distances"],
        name="measure_attentions",
    )
    write = Node(
        write_page,
        inputs=["attention_costs", "attention_distances", "params:benchmark"],
        outputs="attention_page",
        name="write_page",
    )
    with warnings.catch_warnings():
        # Kedro advises against naming a dataset of another namespace, as this has to.
        warnings.filterwarnings("ignore", "One or more dataset names contain")
        return Pipeline([measure, write], inputs={"pretrained": "miram_softmax.pretrained"})
