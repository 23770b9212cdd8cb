"""From an evaluated method to a version in the registry, as champion or as challenger.

`kedro run --pipeline promote --params promote.method=miram_nystrom`
"""

from kedro.pipeline import Node, Pipeline

from miram.pipelines.promote.nodes import build_predictor, register_model


def create_pipeline(**_: object) -> Pipeline:
    """Fit the probe that is served, then register it with its encoder.

    The method is a run-time parameter that the catalog reads, since a pipeline names its
    datasets before parameters are known.
    """
    parameters = ["params:evaluation", "params:promote"]
    build = Node(
        build_predictor,
        inputs=[
            *("candidate", "candidate_encoder", "candidate_features", "candidate_evaluation"),
            *("crops", "lesions", "splits"),
            *("params:features", *parameters),
        ],
        outputs="predictor",
        name="build_predictor",
    )
    register = Node(
        register_model,
        inputs=["candidate", "predictor", "candidate_evaluation", *parameters],
        outputs="promotion",
        name="register_model",
    )
    return Pipeline([build, register])
