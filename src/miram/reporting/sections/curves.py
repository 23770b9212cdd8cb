"""ROC and precision-recall curves of every task and class; their areas are those of the tables.

A precision-recall curve is made of steps whose area is the average precision: at a recall between
two that were reached it has the precision of the next one, without the straight lines that would
flatter it (Davis & Goadrich, ICML 2006).
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from plotly.graph_objects import Figure
from sklearn.metrics import precision_recall_curve, roc_curve

from miram.evaluation.predictions import TaskScores, task_scores
from miram.reporting.charts.drawing import GREY, MARGIN, context, legend_below
from miram.reporting.facts.findings import TaskFinding, study_findings
from miram.reporting.facts.study import MethodResult, Study
from miram.reporting.facts.words import counted, with_interval
from miram.reporting.sections.section import Section
from miram.reporting.styles import MAIN_METRICS, chance_level, method_style

Array = npt.NDArray[np.float64]
Points = tuple[Array, Array]
Curve = Callable[[npt.NDArray[np.int64], Array], tuple[Points, float] | None]
Mean = Callable[[Sequence[Points], Sequence[float] | None], Points]
_PALE_POINTS = 80
_NOTHING: Points = (np.empty(0), np.empty(0))


class Curves(Section):
    """Both curves of the task as a whole, then of each class where there are several."""

    title = "ROC and precision-recall curves"
    template = "curves.html"

    def applies(self, study: Study) -> bool:
        """Whether any task was evaluated."""
        return bool(study_findings(study))

    def data(self, study: Study) -> dict[str, Any]:
        """Tasks with their classes, and the charts."""
        tasks, charts = [], {}
        for place, finding in enumerate(study_findings(study)):
            task, pairs = _task(study.methods, finding)
            tasks.append(task)
            for index, (roc, precision_recall) in enumerate(pairs):
                charts[f"roc-{place}-{index}"] = roc
                charts[f"pr-{place}-{index}"] = precision_recall
        first = study_findings(study)[0]
        board = study.probes[study.probes["task"] == first.task]
        found = board[board["metric"] == "average_precision"].set_index("method")
        method = first.drawn[0]
        return {
            "line": f"{method} on {first.task}: average precision "
            f"{with_interval(found.loc[method].to_dict())}, {counted(first.patients, 'patient')}",
            "tasks": tasks,
            "charts": charts,
        }


def _task(
    methods: Mapping[str, MethodResult], finding: TaskFinding
) -> tuple[dict[str, Any], list[tuple[Figure, Figure]]]:
    """A task for the template, and its charts: of the task as a whole, then of each class."""
    entries = {
        method: result.metrics["tasks"][finding.task]
        for method, result in methods.items()
        if finding.task in result.metrics["tasks"]
    }
    found = {name: task_scores(methods[name].predictions, finding.task) for name in entries}
    first = next(iter(found.values()))
    names = first.classes if len(first.classes) > 1 else ()
    rows = {
        name: {
            method: next(one for one in entry["per_class"] if str(one["class"]) == name)["metrics"]
            for method, entry in entries.items()
        }
        for name in names
    }
    metrics = {name: entry["metrics"] for name, entry in entries.items()}
    charts = [_charts(found, metrics, None, finding.drawn)]
    # Of the classes two methods alone: the pale lines of all would make up most of the page.
    two = {name: found[name] for name in finding.drawn if name in found}
    charts += [_charts(two, rows[name], index, finding.drawn) for index, name in enumerate(names)]
    classes = [
        {
            "name": name,
            "lesions": int(first.labels[:, index].sum()),
            "patients": len(set(first.patients[first.labels[:, index] == 1])),
            "areas": {method: metrics["auc"] for method, metrics in rows[name].items()},
        }
        for index, name in enumerate(names)
    ]
    return {"finding": finding, "classes": classes}, charts


def _charts(
    found: Mapping[str, TaskScores],
    metrics: Mapping[str, Mapping[str, Any]],
    index: int | None,
    shown: Collection[str],
) -> tuple[Figure, Figure]:
    """ROC and precision-recall curves of one class, or of the task where `index` is None."""
    labels = next(iter(found.values())).labels
    areas = {
        method: with_interval(next(one[name] for name in MAIN_METRICS if name in one))
        for method, one in metrics.items()
    }
    precisions = {
        method: with_interval(one["average_precision"]) for method, one in metrics.items()
    }
    prevalence = float((labels if index is None else labels[:, index]).mean())
    roc = {method: roc_points(scores, index) for method, scores in found.items()}
    steps = {method: precision_recall_points(scores, index) for method, scores in found.items()}
    return curve_figure(roc, areas, shown), curve_figure(steps, precisions, shown, prevalence)


def roc_points(found: TaskScores, index: int | None = None) -> Points:
    """False- and true-positive rates of one class against the rest, (m,) and (m,).

    Of several seeds, repeats, or folds whose scores are not comparable, the mean of their curves
    at equal false-positive rates (Fawcett, 2006); a fold is weighted by its pairs of a positive
    and a negative, so that the area is the one in the tables. Without an index it is the mean over
    the classes. Points are empty where the class or the rest is missing.
    """
    return _points(found, index, _roc, _mean_roc)


def precision_recall_points(found: TaskScores, index: int | None = None) -> Points:
    """Recalls, ascending from 0, and precisions; as `roc_points`, the mean at equal recalls.

    A fold is weighted by its positives, so that the area is the one in the tables.
    """
    return _points(found, index, _steps, _mean_steps)


def _points(found: TaskScores, index: int | None, curve: Curve, mean: Mean) -> Points:
    if index is None:
        each = [_points(found, one, curve, mean) for one in range(len(found.classes))]
        return mean([points for points in each if len(points[0])], None)
    if len(np.unique(found.labels[:, index])) < 2:
        return _NOTHING
    parts = [curve(labels[:, index], scores[:, index]) for labels, scores in found.by_classifier()]
    known = [part for part in parts if part]
    return mean([points for points, _ in known], [weight for _, weight in known])


def _roc(labels: npt.NDArray[np.int64], scores: Array) -> tuple[Points, float] | None:
    if labels.min() == labels.max():
        return None
    return roc_curve(labels, scores)[:2], float(labels.sum() * (1 - labels).sum())


def _steps(labels: npt.NDArray[np.int64], scores: Array) -> tuple[Points, float] | None:
    if not labels.any():
        return None
    precision, recall, _ = precision_recall_curve(labels, scores)
    # From the highest threshold on; the first precision at a recall is that of its step.
    levels, first = np.unique(recall[::-1], return_index=True)
    heights = precision[::-1][first]
    heights[0] = heights[1]  # at recall 0 nothing was found: the first step begins there
    return (levels, heights), float(labels.sum())


def _mean_roc(curves: Sequence[Points], weights: Sequence[float] | None) -> Points:
    if len(curves) < 2:
        return curves[0] if curves else _NOTHING
    grid = np.unique(np.concatenate([curve[0] for curve in curves]))
    # A curve rises where its rate stands still: the mean has a lower and an upper end there.
    lower = [np.interp(-grid, -x[::-1], y[::-1]) for x, y in curves]
    upper = [np.interp(grid, x, y) for x, y in curves]
    low, high = (np.average(ends, axis=0, weights=weights) for ends in (lower, upper))
    return np.repeat(grid, 2), np.column_stack([low, high]).ravel()


def _mean_steps(curves: Sequence[Points], weights: Sequence[float] | None) -> Points:
    if len(curves) < 2:
        return curves[0] if curves else _NOTHING
    grid = np.unique(np.concatenate([recall for recall, _ in curves]))
    # Recalls are the same fractions up to rounding; half a step less than any of them finds its
    # own step in spite of that.
    places = [np.searchsorted(recall, grid - 1e-9) for recall, _ in curves]
    steps = [precision[place] for (_, precision), place in zip(curves, places, strict=True)]
    return grid, np.average(steps, axis=0, weights=weights)


def curve_figure(
    curves: Mapping[str, Points],
    areas: Mapping[str, str],
    shown: Collection[str],
    prevalence: float | None = None,
) -> Figure:
    """Draw the ROC curves of several methods, or the precision-recall curves.

    Args:
        curves: Points by method.
        areas: Area with its interval by method, as text.
        shown: Methods in color; the others are pale lines behind them.
        prevalence: Of precision-recall curves the share of the class, the precision at chance
            level.
    """
    x, y = ("1 - specificity", "sensitivity") if prevalence is None else ("recall", "precision")
    figure = Figure()
    for method in sorted(curves, key=lambda name: name in shown):
        across, up = _thinned(curves[method], whole=method in shown)
        figure.add_scatter(
            x=across.round(3).tolist(),
            y=up.round(3).tolist(),
            mode="lines",
            **context(method_style(method), shown=method in shown),
            line_shape=None if prevalence is None else "vh",
            name=f"{method}: {areas[method]}",
            hovertemplate=f"{y} %{{y:.3f}} at {x} %{{x:.3f}}",
        )
    chance = f"{chance_level('auc')}" if prevalence is None else f"{prevalence:.3f}"
    figure.add_scatter(
        x=[0, 1],
        y=[0, 1] if prevalence is None else [prevalence, prevalence],
        mode="lines",
        line={"color": GREY, "width": 1},
        name=f"chance level: {chance}",
        hoverinfo="skip",
    )
    axis = {"range": [-0.03, 1.03], "constrain": "domain"}
    return figure.update_layout(
        xaxis={"title": x if prevalence is None else f"{x} (sensitivity)", **axis},
        yaxis={"title": y, "scaleanchor": "x", **axis},
        legend=legend_below(0.16),
        margin=MARGIN,
        height=560,
    )


def _thinned(points: Points, *, whole: bool) -> Points:
    """A curve as it is, or with the few points that a pale line needs, both ends among them."""
    count = len(points[0])
    if whole or count <= _PALE_POINTS:
        return points
    kept = np.linspace(0, count - 1, _PALE_POINTS).round().astype(int)
    return points[0][kept], points[1][kept]
