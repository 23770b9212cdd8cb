"""ROC curves and their areas, from predictions."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from plotly.graph_objects import Figure
from sklearn.metrics import roc_curve

from miram.evaluation.bootstrap import Interval, cluster_bootstrap
from miram.evaluation.comparison import Comparison, compare_methods
from miram.reporting.figures import TEMPLATE
from miram.reporting.styles import method_style

Array = npt.NDArray[np.float64]
Points = tuple[Array, Array]


@dataclass(frozen=True)
class TaskScores:
    """Predictions of one method for one task, one row per lesion.

    Attributes:
        classes: K class names; of a binary task the positive one alone.
        labels: (n, K) of 0 and 1.
        scores: (n, K).
        patients: (n,) patient of each lesion.
    """

    classes: tuple[str, ...]
    labels: npt.NDArray[np.int64]
    scores: Array
    patients: npt.NDArray[np.object_]


def task_scores(predictions: pd.DataFrame, task: str) -> TaskScores:
    """Take one task out of a table of predictions.

    Args:
        predictions: `lesion_id`, `patient_id`, `task`, `class`, `label`, `score`, one row per
            lesion and class.
        task: Name of the task.
    """
    rows = predictions[predictions["task"] == task]
    classes = list(dict.fromkeys(rows["class"]))
    table = rows.pivot(index="lesion_id", columns="class", values=["label", "score"])
    patients = rows.drop_duplicates("lesion_id").set_index("lesion_id")["patient_id"]
    return TaskScores(
        tuple(map(str, classes)),
        table["label"][classes].to_numpy(np.int64),
        table["score"][classes].to_numpy(np.float64),
        patients.loc[table.index].to_numpy(dtype=object),
    )


def class_points(found: TaskScores, index: int) -> Points:
    """ROC points of one class against the rest; empty where one of the two is missing."""
    labels = found.labels[:, index]
    if labels.min() == labels.max():
        return np.empty(0), np.empty(0)
    false_positive, true_positive, _ = roc_curve(labels, found.scores[:, index])
    return false_positive, true_positive


def macro_points(found: TaskScores) -> Points:
    """Mean of the classes' ROC curves at equal false-positive rates (Fawcett, 2006).

    With one class it is that class's own curve.
    """
    curves = [class_points(found, index) for index in range(len(found.classes))]
    curves = [curve for curve in curves if len(curve[0])]
    if len(curves) < 2:
        return curves[0] if curves else (np.empty(0), np.empty(0))
    grid = np.unique(np.concatenate([curve[0] for curve in curves]))
    mean = np.mean([np.interp(grid, *curve) for curve in curves], axis=0)
    return np.concatenate([[0.0], grid]), np.concatenate([[0.0], mean])


def class_area(found: TaskScores, index: int, *, draws: int, seed: int) -> Interval:
    """Area under one class's curve against the rest, with its patient-cluster interval."""
    labels, scores = found.labels[:, index], found.scores[:, index]
    areas = cluster_bootstrap(labels, scores, found.patients, ["auc"], draws=draws, seed=seed)
    return areas["auc"]


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


def paired_with_random(
    results: Mapping[str, pd.DataFrame], task: str, kind: str, *, draws: int, seed: int
) -> list[Comparison]:
    """Compare every method with the untrained encoder on the same patients.

    Args:
        results: Predictions by method.
        task: Name of the task.
        kind: `binary`, `single` or `multi`.
        draws: Bootstrap draws.
        seed: Seed of the draws.

    Returns:
        One comparison per trained method; empty without a `random` encoder or without others.
    """
    found = {method: task_scores(predictions, task) for method, predictions in results.items()}
    if "random" not in found or len(found) < 2:
        return []
    reference = found["random"]
    labels, scores = reference.labels, {name: item.scores for name, item in found.items()}
    if kind == "binary":
        labels, scores = labels[:, 0], {name: values[:, 0] for name, values in scores.items()}
    elif kind == "single":
        labels = labels.argmax(axis=1)
    return compare_methods(
        labels, scores, reference.patients, reference="random", draws=draws, seed=seed
    )
