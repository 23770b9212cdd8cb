"""Precision-recall curves are steps whose area is the average precision."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from miram.evaluation.predictions import TaskScores
from miram.evaluation.statistics.inputs import SeedScores
from miram.evaluation.statistics.metrics import compute_metrics
from miram.reporting.charts.precision_recall import (
    Points,
    chance,
    class_points,
    macro_points,
    precision_recall_figure,
)


def _scores(seeds: int, classes: int, *, ties: bool = False) -> TaskScores:
    random = np.random.default_rng(3)
    labels = np.eye(max(classes, 2), dtype=np.int64)[random.integers(0, max(classes, 2), 60)]
    labels = labels[:, -classes:]
    each = [labels + random.normal(0, 1.2, labels.shape) for _ in range(seeds)]
    each = [one.round() if ties else one for one in each]
    patients = np.arange(60).astype(object)
    names = tuple(f"class {k}" for k in range(classes))
    return TaskScores(names, labels, SeedScores(tuple(each)), patients)


def _area(points: Points) -> float:
    """Area as the chart draws it: up or down first, then on."""
    recall, precision = points
    return float(np.diff(recall) @ precision[1:])


@pytest.mark.parametrize("ties", [False, True])
def test_area_under_the_curve_is_the_average_precision(ties: bool) -> None:
    found = _scores(1, 1, ties=ties)
    expected = average_precision_score(found.labels[:, 0], found.each()[0][:, 0])
    recall, precision = class_points(found, 0)
    assert _area((recall, precision)) == pytest.approx(expected)
    assert (recall[0], recall[-1]) == (0, 1)
    assert precision[-1] >= found.labels.mean()


def test_curve_begins_with_its_first_step_even_below_one() -> None:
    labels, scores = np.array([[0], [1], [1]]), np.array([[0.9], [0.8], [0.7]])
    patients = np.arange(3).astype(object)
    recall, precision = class_points(TaskScores(("a",), labels, SeedScores((scores,)), patients), 0)
    assert recall == pytest.approx([0, 0.5, 1])
    assert precision == pytest.approx([0.5, 0.5, 2 / 3])


def test_area_over_seeds_and_classes_is_the_mean_average_precision() -> None:
    found = _scores(2, 3)
    single = [
        average_precision_score(found.labels[:, k], one[:, k])
        for k in range(3)
        for one in found.each()
    ]
    assert _area(macro_points(found)) == pytest.approx(np.mean(single))
    assert _area(class_points(found, 1)) == pytest.approx(np.mean(single[2:4]))
    assert chance(found) == pytest.approx(1 / 3)


def test_area_over_folds_is_the_average_precision_of_the_tables() -> None:
    random = np.random.default_rng(4)
    plain, folds = _scores(2, 1, ties=True), random.integers(4, size=60)
    each = tuple(one / (1 + folds[:, None]) for one in plain.each())
    found = TaskScores(("a",), plain.labels, SeedScores(each, folds), plain.patients)
    name = "average_precision"
    expected = [compute_metrics(plain.labels[:, 0], one[:, 0], [name], folds)[name] for one in each]
    assert _area(class_points(found, 0)) == pytest.approx(np.mean(expected))


def test_class_without_a_lesion_has_no_curve() -> None:
    found = _scores(1, 1)
    empty = TaskScores(found.classes, found.labels * 0, found.seeds, found.patients)
    assert [len(part) for part in class_points(empty, 0)] == [0, 0]
    assert [len(part) for part in macro_points(empty)] == [0, 0]


def test_chart_draws_steps_and_the_share_of_the_class() -> None:
    found = _scores(1, 1)
    curves = {"mae": class_points(found, 0)}
    figure = precision_recall_figure(curves, {"mae": "0.7 (0.6 to 0.8)"}, chance(found))
    curve, guessing = figure.data
    assert curve.name == "mae: 0.7 (0.6 to 0.8)"
    assert curve.line.shape == "vh"
    assert set(guessing.y) == {chance(found)}
