"""ROC and precision-recall curves of every task and class, with their areas."""

from collections.abc import Callable, Mapping
from typing import Any

from miram.evaluation.predictions import TaskScores, task_scores
from miram.reporting.charts import precision_recall, roc
from miram.reporting.charts.styles import MAIN_METRICS
from miram.reporting.facts.study import MethodResult
from miram.reporting.facts.summary import TaskFinding
from miram.reporting.facts.words import interval, number

Area = Mapping[str, Any]
Points = precision_recall.Points


def task_curves(methods: Mapping[str, MethodResult], finding: TaskFinding) -> dict[str, Any]:
    """Curves of a task: of the task as a whole, and of each class where there are several.

    Args:
        methods: Results by method.
        finding: The task.

    Returns:
        `finding`; `several`, whether there are several classes; the figures `roc` and
        `precision_recall`; and `classes`, the same per class with `name`, `lesions`, `patients`
        and the `areas` under the ROC curves by method.
    """
    entries = {
        method: result.metrics["tasks"][finding.task]
        for method, result in methods.items()
        if finding.task in result.metrics["tasks"]
    }
    found = {name: task_scores(methods[name].predictions, finding.task) for name in entries}
    first = next(iter(found.values()))
    several = len(first.classes) > 1
    areas = {name: _first(entry["metrics"], MAIN_METRICS) for name, entry in entries.items()}
    precisions = {name: entry["metrics"]["average_precision"] for name, entry in entries.items()}
    return {
        "finding": finding,
        "several": several,
        "roc": roc.roc_figure(_each(roc.macro_points, found), _texts(areas)),
        "precision_recall": precision_recall.precision_recall_figure(
            _each(precision_recall.macro_points, found),
            _texts(precisions),
            precision_recall.chance(first),
        ),
        "classes": [_class_curves(found, entries, name) for name in first.classes if several],
    }


def _class_curves(
    found: Mapping[str, TaskScores], entries: Mapping[str, Any], name: str
) -> dict[str, Any]:
    first = next(iter(found.values()))
    index = first.classes.index(name)
    rows = {
        method: next(row for row in entry["per_class"] if str(row["class"]) == name)
        for method, entry in entries.items()
    }
    areas = {method: row["metrics"]["auc"] for method, row in rows.items()}
    precisions = {method: row["metrics"]["average_precision"] for method, row in rows.items()}
    return {
        "name": name,
        "lesions": int(first.labels[:, index].sum()),
        "patients": len(set(first.patients[first.labels[:, index] == 1])),
        "areas": areas,
        "roc": roc.roc_figure(_each(roc.class_points, found, index), _texts(areas)),
        "precision_recall": precision_recall.precision_recall_figure(
            _each(precision_recall.class_points, found, index),
            _texts(precisions),
            float(first.labels[:, index].mean()),
        ),
    }


def _each(points: Callable[..., Points], found: Mapping[str, TaskScores], *place: int) -> Any:
    return {method: points(item, *place) for method, item in found.items()}


def _first(figures: Mapping[str, Area], names: tuple[str, ...]) -> Area:
    return next(figures[name] for name in names if name in figures)


def _texts(areas: Mapping[str, Area]) -> dict[str, str]:
    return {
        method: f"{number(area['estimate'])} ({interval(area['lower'], area['upper'])})"
        for method, area in areas.items()
    }
