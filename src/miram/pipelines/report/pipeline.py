"""The report pipeline: fan-in of all methods."""

import warnings

from kedro.pipeline import Node, Pipeline

from miram.models.methods import BASELINES, METHODS, SUPERVISED
from miram.pipelines.report.nodes import (
    TABLES,
    build_leaderboard,
    build_report,
    draw_leaderboard,
    weigh_costs,
    write_cards,
)

PARTS = ("history", "reconstructions", "metrics", *TABLES)
SHARED = ("lesions", "ingest_audit", "crops", "splits", "finetuned_results")


def create_pipeline(**_: object) -> Pipeline:
    """Compare all methods; write the page, the cards and the checklist."""
    results = {
        f"{method}_{part}": f"{method}.{part}"
        for method in METHODS
        for part in PARTS
        if (method, part) != (SUPERVISED, "reconstructions")
    } | {f"{anchor}_predictions": f"{anchor}.predictions" for anchor in BASELINES}
    anchors = {f"{anchor}_metrics": f"{anchor}.metrics" for anchor in BASELINES}
    cards = {f"{method}_card": f"{method}.model_card" for method in METHODS}
    inputs = {name: name for name in SHARED} | results | anchors
    with warnings.catch_warnings():
        # A fan-in has to name the datasets of other namespaces, which Kedro advises against.
        warnings.filterwarnings("ignore", "One or more dataset names contain")
        return Pipeline(_fan_in(list(results), list(cards)), inputs=inputs, outputs=cards)


def _fan_in(results: list[str], cards: list[str]) -> Pipeline:
    study = {name: name for name in (*SHARED, "leaderboard", "parameters", *results)}
    return Pipeline(
        [
            Node(
                build_leaderboard,
                inputs={name: f"{name}_metrics" for name in (*METHODS, *BASELINES)}
                | {"finetuned_results": "finetuned_results"},
                outputs="leaderboard",
                name="build_leaderboard",
            ),
            Node(
                draw_leaderboard,
                inputs="leaderboard",
                outputs="leaderboard_figure",
                name="draw_leaderboard",
            ),
            Node(
                build_report,
                inputs=study | {"costs": "costs"},
                outputs="report",
                name="build_report",
            ),
            Node(
                write_cards,
                inputs=study,
                outputs=["claim_checklist", *cards],
                name="write_cards",
            ),
            Node(weigh_costs, inputs=study, outputs=["costs", "cost_figure"], name="weigh_costs"),
        ]
    )
