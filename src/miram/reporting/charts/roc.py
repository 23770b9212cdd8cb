"""ROC curves and their areas, from predictions."""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
from plotly.graph_objects import Figure
from sklearn.metrics import roc_curve

from miram.errors import MiramError
from miram.evaluation.config import ComparisonConfig
from miram.evaluation.predictions import TaskScores, task_scores
from miram.evaluation.statistics.comparison import Comparison, compare_methods
from miram.evaluation.statistics.inputs import Kind, same_folds
from miram.reporting.charts.styles import method_style
from miram.reporting.charts.training import TEMPLATE

__all__ = [
    "TaskScores",
    "class_points",
    "macro_points",
    "paired_with_reference",
    "roc_figure",
    "task_scores",
]

Array = npt.NDArray[np.float64]
Points = tuple[Array, Array]


def class_points(found: TaskScores, index: int) -> Points:
    """ROC points of one class against the rest; empty where one of the two is missing.

    Of several seeds, repeats, or folds whose scores are not comparable, the mean of their curves,
    as in `macro_points`; a fold counts as many times as it has pairs of a positive and a negative,
    so that the area is the one in the tables.
    """
    curves, pairs = [], []
    for known, scores in found.by_classifier():
        labels = known[:, index]
        if labels.min() < labels.max():
            curves.append(roc_curve(labels, scores[:, index])[:2])
            pairs.append(float(labels.sum() * (1 - labels).sum()))
    return _mean_curve(curves, pairs)


def macro_points(found: TaskScores) -> Points:
    """Mean of the classes' ROC curves at equal false-positive rates (Fawcett, 2006).

    With one class it is that class's own curve.
    """
    curves = [class_points(found, index) for index in range(len(found.classes))]
    return _mean_curve([curve for curve in curves if len(curve[0])])


def _mean_curve(curves: Sequence[Points], weights: Sequence[float] | None = None) -> Points:
    if len(curves) < 2:
        return curves[0] if curves else (np.empty(0), np.empty(0))
    grid = np.unique(np.concatenate([curve[0] for curve in curves]))
    # A curve rises where its rate stands still: the mean has a lower and an upper end there.
    lower = [np.interp(-grid, -x[::-1], y[::-1]) for x, y in curves]
    upper = [np.interp(grid, x, y) for x, y in curves]
    low, high = (np.average(ends, axis=0, weights=weights) for ends in (lower, upper))
    return np.repeat(grid, 2), np.column_stack([low, high]).ravel()


def roc_figure(curves: Mapping[str, Points], areas: Mapping[str, str]) -> Figure:
    """Draw the ROC curves of several methods.

    Args:
        curves: False- and true-positive rates by method.
        areas: Area with its interval by method, as text.
    """
    figure = Figure()
    for method, (false_positive, true_positive) in curves.items():
        style = method_style(method)
        figure.add_scatter(
            x=false_positive.round(4).tolist(),
            y=true_positive.round(4).tolist(),
            mode="lines",
            line={"color": style.color, "dash": style.dash, "width": 2},
            name=f"{method}: {areas[method]}",
            hovertemplate="sensitivity %{y:.3f} at specificity %{customdata:.3f}",
            customdata=(1 - false_positive).round(4).tolist(),
        )
    figure.add_scatter(
        x=[0, 1],
        y=[0, 1],
        mode="lines",
        line={"color": "#888888", "width": 1},
        name="guessing: 0.5",
        hoverinfo="skip",
    )
    axis = {"range": [-0.01, 1.01], "constrain": "domain"}
    return figure.update_layout(
        template=TEMPLATE,
        xaxis={"title": "1 - specificity", **axis},
        yaxis={"title": "sensitivity", "scaleanchor": "x", **axis},
        legend={"orientation": "h", "yanchor": "top", "y": -0.16},
        margin={"t": 16, "r": 16, "b": 16, "l": 16},
        height=560,
    )


def paired_with_reference(
    results: Mapping[str, pd.DataFrame],
    task: str,
    kind: Kind,
    config: ComparisonConfig,
    *,
    draws: int,
    seed: int,
) -> list[Comparison]:
    """Compare methods with the reference on the same patients.

    Args:
        results: Predictions by method.
        task: Name of the task.
        kind: `binary`, `single` or `multi`.
        config: Reference, methods, tasks and figure.
        draws: Bootstrap draws.
        seed: Seed of the draws.

    Returns:
        One comparison per other method; empty where the task is not to be compared, the
        reference did not answer it, or there is no other method.

    Raises:
        MiramError: A method asked for is not in the study, or methods were judged on different
            lesions.
    """
    _require_methods(config, results)
    if config.tasks and task not in config.tasks:
        return []
    wanted = {config.reference, *(config.methods or results)}
    found = {
        method: task_scores(predictions, task)
        for method, predictions in results.items()
        if method in wanted and (predictions["task"] == task).any()
    }
    if config.reference not in found or len(found) < 2:
        return []
    reference = found[config.reference]
    for method, item in found.items():
        if not (
            np.array_equal(item.patients, reference.patients)
            and np.array_equal(item.labels, reference.labels)
        ):
            raise MiramError(
                f"{method} and {config.reference} were judged on different lesions of {task}: "
                "run `kedro run --pipeline probe` for all methods again"
            )
        if not same_folds(item.seeds, reference.seeds):
            raise MiramError(
                f"{method} and {config.reference} were judged in different folds: run `kedro run "
                "--pipeline probe` for all methods again, under the same splits"
            )
    labels, _ = reference.of_kind(kind)
    return compare_methods(
        labels,
        {name: item.of_kind(kind)[1] for name, item in found.items()},
        reference.patients,
        reference=config.reference,
        metric=config.metric_for(kind),
        draws=draws,
        seed=seed,
    )


def _require_methods(config: ComparisonConfig, results: Mapping[str, pd.DataFrame]) -> None:
    # The default reference may be absent, a method that somebody named may not.
    named = {*config.methods, config.reference} - {ComparisonConfig().reference}
    unknown = sorted(named - set(results))
    if unknown:
        raise MiramError(
            f"evaluation.comparison names {unknown[0]!r}, which is not in this study: choose among "
            f"{', '.join(results)}"
        )
