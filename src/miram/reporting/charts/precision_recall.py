"""Precision-recall curves, as steps whose area is the average precision.

At a recall between two that were reached the curve has the precision of the next one, without
the straight lines that would flatter it (Davis & Goadrich, ICML 2006).
"""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
from plotly.graph_objects import Figure
from sklearn.metrics import precision_recall_curve

from miram.evaluation.predictions import TaskScores
from miram.reporting.charts.styles import method_style
from miram.reporting.charts.training import TEMPLATE

Array = npt.NDArray[np.float64]
Points = tuple[Array, Array]


def class_points(found: TaskScores, index: int) -> Points:
    """Recall and precision of one class against the rest.

    Of several seeds, repeats, or folds whose scores are not comparable, the mean of their curves;
    a fold counts as many times as it has positives, so that the area is the one in the tables.

    Args:
        found: Predictions of one method.
        index: Number of the class.

    Returns:
        (m,) recalls, ascending from 0, and (m,) precisions; empty where the class or the rest is
        missing.
    """
    everywhere = found.labels[:, index]
    if everywhere.min() == everywhere.max():
        return np.empty(0), np.empty(0)
    curves, positives = [], []
    for known, scores in found.by_classifier():
        labels = known[:, index]
        if labels.any():
            curves.append(_steps(labels, scores[:, index]))
            positives.append(float(labels.sum()))
    return mean_points(curves, positives)


def macro_points(found: TaskScores) -> Points:
    """Mean of the classes' curves at equal recalls; with one class it is that class's own."""
    curves = [class_points(found, index) for index in range(len(found.classes))]
    return mean_points([curve for curve in curves if len(curve[0])])


def chance(found: TaskScores) -> float:
    """Precision of an answer that knows nothing: the share of the class, the mean over classes."""
    return float(found.labels.mean())


def mean_points(curves: list[Points], weights: list[float] | None = None) -> Points:
    """Mean of step curves at the recalls of all of them.

    Args:
        curves: Recalls and precisions of each, none of them empty.
        weights: How much each counts; all the same by default.
    """
    if len(curves) < 2:
        return curves[0] if curves else (np.empty(0), np.empty(0))
    grid = np.unique(np.concatenate([recall for recall, _ in curves]))
    # Recalls are the same fractions up to rounding; half a step less than any of them finds its
    # own step in spite of that.
    places = [np.searchsorted(recall, grid - 1e-9) for recall, _ in curves]
    steps = [precision[place] for (_, precision), place in zip(curves, places, strict=True)]
    return grid, np.average(steps, axis=0, weights=weights)


def _steps(labels: npt.NDArray[np.int64], scores: Array) -> Points:
    precision, recall, _ = precision_recall_curve(labels, scores)
    # From the highest threshold on; the first precision at a recall is that of its step.
    levels, first = np.unique(recall[::-1], return_index=True)
    heights = precision[::-1][first]
    heights[0] = heights[1]  # at recall 0 nothing was found: the first step begins there
    return levels, heights


def precision_recall_figure(
    curves: Mapping[str, Points], areas: Mapping[str, str], guessing: float
) -> Figure:
    """Draw the precision-recall curves of several methods.

    Args:
        curves: Recalls and precisions by method.
        areas: Average precision with its interval by method, as text.
        guessing: Precision of an answer that knows nothing.
    """
    figure = Figure()
    for method, (recall, precision) in curves.items():
        style = method_style(method)
        figure.add_scatter(
            x=recall.round(4).tolist(),
            y=precision.round(4).tolist(),
            mode="lines",
            line={"color": style.color, "dash": style.dash, "width": 2, "shape": "vh"},
            name=f"{method}: {areas[method]}",
            hovertemplate="precision %{y:.3f} at recall %{x:.3f}",
        )
    figure.add_scatter(
        x=[0, 1],
        y=[guessing, guessing],
        mode="lines",
        line={"color": "#888888", "width": 1},
        name=f"guessing: {guessing:.3f}",
        hoverinfo="skip",
    )
    axis = {"range": [-0.01, 1.01], "constrain": "domain"}
    return figure.update_layout(
        template=TEMPLATE,
        xaxis={"title": "recall (sensitivity)", **axis},
        yaxis={"title": "precision", "scaleanchor": "x", **axis},
        legend={"orientation": "h", "yanchor": "top", "y": -0.16},
        margin={"t": 16, "r": 16, "b": 16, "l": 16},
        height=560,
    )
