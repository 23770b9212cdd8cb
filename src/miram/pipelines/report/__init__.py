"""From all methods to one leaderboard and one page."""

import warnings
from collections.abc import Collection

from kedro.pipeline import Node, Pipeline

from miram.models.methods import BASELINES, METHODS
from miram.pipelines.report.nodes import build_leaderboard, write_report

_SHARED = ["lesions", "ingest_audit", "crops", "splits", "finetuned_results", "attention_costs"]


def create_pipeline(
    methods: Collection[str] = METHODS, baselines: Collection[str] = BASELINES, **_: object
) -> Pipeline:
    """Compare the methods and baselines that have results; write page, cards and checklist."""
    evaluations = {f"{name}_evaluation": f"{name}.evaluation" for name in (*methods, *baselines)}
    rest = {
        f"{name}_{part}": f"{name}.{part}"
        for name in methods
        for part in ("training_record", "features")
    }
    names = [*_SHARED, "leaderboard", "parameters", *evaluations, *rest]
    compare = Node(
        build_leaderboard,
        inputs={
            "finetuned_results": "finetuned_results",
            "methods": "params:methods",
            "parameters": "parameters",
            **{name: name for name in evaluations},
        },
        outputs="leaderboard",
        name="build_leaderboard",
    )
    write = Node(
        write_report,
        inputs={name: name for name in names},
        outputs=["report", "model_cards", "claim_checklist", "costs"],
        name="write_report",
    )
    with warnings.catch_warnings():
        # A fan-in has to name the datasets of other namespaces, which Kedro advises against.
        warnings.filterwarnings("ignore", "One or more dataset names contain")
        # As the registry tags it: a session makes this pipeline anew, for the methods there are.
        return Pipeline([compare, write], inputs=evaluations | rest, tags="report")
