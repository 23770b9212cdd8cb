"""The report pipeline: fan-in of all methods."""

import warnings

from kedro.pipeline import Node, Pipeline

from miram.models.names import METHODS, SUPERVISED
from miram.pipelines.report.nodes import build_leaderboard, build_report, draw_leaderboard

PARTS = ("history", "reconstructions", "metrics", "predictions")


def create_pipeline(**_: object) -> Pipeline:
    """Compare all methods and write the page."""
    results = {
        f"{method}_{part}": f"{method}.{part}"
        for method in METHODS
        for part in PARTS
        if (method, part) != (SUPERVISED, "reconstructions")
    }
    shared = {"lesions", "ingest_audit", "crops", "splits"}
    with warnings.catch_warnings():
        # A fan-in has to name the datasets of other namespaces, which Kedro advises against.
        warnings.filterwarnings("ignore", "One or more dataset names contain")
        return Pipeline(_fan_in(list(results)), inputs={name: name for name in shared} | results)


def _fan_in(results: list[str]) -> Pipeline:
    return Pipeline(
        [
            Node(
                build_leaderboard,
                inputs={method: f"{method}_metrics" for method in METHODS},
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
                inputs={
                    "lesions": "lesions",
                    "ingest_audit": "ingest_audit",
                    "crops": "crops",
                    "splits": "splits",
                    "leaderboard": "leaderboard",
                    "parameters": "parameters",
                    **{name: name for name in results},
                },
                outputs="report",
                name="build_report",
            ),
        ]
    )
