"""Nodes of the report pipeline."""

from typing import TYPE_CHECKING, Any

import pandas as pd

from miram.mammography.crop_store import CropStore
from miram.models.names import METHODS
from miram.reporting.leaderboard import leaderboard_table
from miram.reporting.study import MethodResult, Study

if TYPE_CHECKING:
    from plotly.graph_objects import Figure
else:
    Figure = Any


def build_leaderboard(**metrics: dict[str, Any]) -> pd.DataFrame:
    """Put the figures of all methods into one table.

    Args:
        metrics: Figures by method.
    """
    return leaderboard_table(metrics)


def draw_leaderboard(leaderboard: pd.DataFrame) -> Figure:
    """Draw every method's main figure with its interval.

    Args:
        leaderboard: Table of `build_leaderboard`.
    """
    from miram.reporting.figures import leaderboard_figure

    return leaderboard_figure(leaderboard)


def build_report(
    lesions: pd.DataFrame,
    ingest_audit: pd.DataFrame,
    crops: CropStore,
    splits: pd.DataFrame,
    leaderboard: pd.DataFrame,
    parameters: dict[str, Any],
    **results: Any,
) -> str:
    """Write the page that shows the whole study.

    Args:
        lesions: The lesion table.
        ingest_audit: What ingestion left out or repaired.
        crops: The crop store.
        splits: Which lesion was on which side.
        leaderboard: All figures.
        parameters: All parameters of the run.
        results: `<method>_history`, `_reconstructions`, `_metrics` and `_predictions`.

    Returns:
        A self-contained HTML page.
    """
    from miram.reporting.page import render_report

    methods = {
        method: MethodResult(
            history=results[f"{method}_history"],
            reconstructions=results.get(f"{method}_reconstructions", {}),
            metrics=results[f"{method}_metrics"],
            predictions=results[f"{method}_predictions"],
        )
        for method in METHODS
    }
    study = Study(lesions, ingest_audit, crops, splits, leaderboard, parameters, methods)
    return render_report(study)
