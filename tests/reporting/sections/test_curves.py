"""Curves agree with the areas that are reported beside them, and methods are paired fairly."""

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import auc, average_precision_score, roc_auc_score

from miram.errors import MiramError
from miram.evaluation.config import ComparisonConfig
from miram.evaluation.predictions import TaskScores
from miram.evaluation.statistics.comparison import Comparison
from miram.evaluation.statistics.inputs import SeedScores
from miram.evaluation.statistics.metrics import compute_metrics
from miram.reporting.charts.drawing import PALE
from miram.reporting.facts.findings import paired_with_reference
from miram.reporting.facts.study import Study
from miram.reporting.sections.curves import (
    Points,
    curve_figure,
    precision_recall_points,
    roc_points,
)
from miram.reporting.styles import method_style

Tables = dict[str, pd.DataFrame]


def paired(tables: Tables, config: ComparisonConfig) -> list[Comparison]:
    return paired_with_reference(tables, "pathology", "binary", config, draws=100, seed=0)


@pytest.fixture
def tables(study: Study) -> Tables:
    return {name: result.predictions for name, result in study.methods.items()}


def _scores(seeds: int, classes: int, *, ties: bool = False) -> TaskScores:
    random = np.random.default_rng(3)
    labels = np.eye(max(classes, 2), dtype=np.int64)[random.integers(0, max(classes, 2), 60)]
    labels = labels[:, -classes:]
    each = [labels + random.normal(0, 1.2, labels.shape) for _ in range(seeds)]
    each = [one.round() if ties else one for one in each]
    patients = np.arange(60).astype(object)
    names = tuple(f"class {k}" for k in range(classes))
    return TaskScores(names, labels, SeedScores(tuple(each)), patients)


@pytest.fixture
def scores() -> TaskScores:
    return _scores(1, 3)


def test_area_under_the_class_curve_is_the_auc(scores: TaskScores) -> None:
    for index in range(3):
        x, y = roc_points(scores, index)
        expected = roc_auc_score(scores.labels[:, index], scores.seeds.each[0][:, index])
        assert np.trapezoid(y, x) == pytest.approx(expected, abs=1e-12)


def test_area_under_the_macro_curve_is_the_macro_auc(scores: TaskScores) -> None:
    x, y = roc_points(scores)
    expected = roc_auc_score(scores.labels, scores.seeds.each[0], average="macro")
    assert np.trapezoid(y, x) == pytest.approx(expected, abs=1e-12)
    assert (x[0], y[0], x[-1], y[-1]) == (0, 0, 1, 1)
    assert all(a <= b for a, b in pairwise(y))


def test_class_without_positives_has_no_curve(scores: TaskScores) -> None:
    labels = scores.labels.copy()
    labels[:, 2] = 0
    without = TaskScores(scores.classes, labels, scores.seeds, scores.patients)
    assert len(roc_points(without, 2)[0]) == 0
    two = TaskScores(("a", "b"), labels[:, :2], scores.seeds.of(np.s_[:, :2]), scores.patients)
    np.testing.assert_array_equal(roc_points(without), roc_points(two))


def test_comparison_is_the_difference_of_the_leaderboard(study: Study) -> None:
    tables = {name: result.predictions for name, result in study.methods.items()}
    found = paired(tables, ComparisonConfig())
    assert [item.method for item in found] == ["mae", "miram_nystrom"]
    main = study.leaderboard[study.leaderboard["metric"] == "auc"].set_index("method")["estimate"]
    for item in found:
        assert item.difference == pytest.approx(main[item.method] - main["random"])
        assert item.p_value <= item.p_holm


def test_without_random_encoder_nothing_is_compared(without_random: Study) -> None:
    tables = {name: result.predictions for name, result in without_random.methods.items()}
    assert paired(tables, ComparisonConfig()) == []


def test_the_user_chooses_reference_methods_and_metric(study: Study, tables: Tables) -> None:
    config = ComparisonConfig(reference="mae", methods=("miram_nystrom",), metric="brier")
    (found,) = paired(tables, config)
    assert (found.method, found.reference, found.metric) == ("miram_nystrom", "mae", "brier")
    board = study.leaderboard[study.leaderboard["metric"] == "brier"]
    brier = board.set_index("method")["estimate"]
    assert found.difference == pytest.approx(brier["miram_nystrom"] - brier["mae"])
    assert found.p_holm == found.p_value  # one comparison needs no correction


def test_tasks_that_are_not_to_be_compared_are_not(tables: Tables) -> None:
    assert paired(tables, ComparisonConfig(tasks=("density",))) == []
    assert len(paired(tables, ComparisonConfig(tasks=("density", "pathology")))) == 2


@pytest.mark.parametrize("named", [{"reference": "mea"}, {"methods": ("mea",)}])
def test_a_method_that_is_not_in_the_study_is_refused(tables: Tables, named: dict) -> None:
    with pytest.raises(MiramError, match="'mea', which is not in this study: choose among random"):
        paired(tables, ComparisonConfig(**named))


def test_methods_evaluated_on_different_lesions_are_not_paired(tables: Tables) -> None:
    first = tables["mae"]["lesion_id"].iloc[0]
    fewer = tables | {"mae": tables["mae"][tables["mae"]["lesion_id"] != first]}
    with pytest.raises(MiramError, match="mae and random were evaluated on different lesions"):
        paired(fewer, ComparisonConfig())


def test_comparisons_are_of_the_linear_probe_whatever_else_was_run(tables: Tables) -> None:
    expected = paired(tables, ComparisonConfig())
    beside = {
        name: pd.concat([table, table.assign(protocol="knn", score=1 - table["score"])])
        for name, table in tables.items()
    }
    assert paired(beside, ComparisonConfig()) == expected


def test_the_curve_of_several_seeds_has_the_mean_of_their_areas() -> None:
    random = np.random.default_rng(1)
    labels = np.tile([[0], [1]], (10, 1))
    each = tuple(random.random((20, 1)).round(1) for _ in range(3))  # with ties
    found = TaskScores(("a",), labels, SeedScores(each), np.arange(20).astype(object))
    areas = [roc_auc_score(labels[:, 0], one[:, 0]) for one in each]
    assert auc(*roc_points(found, 0)) == pytest.approx(np.mean(areas), abs=1e-12)


def test_the_curve_of_several_folds_has_the_area_of_the_tables() -> None:
    random = np.random.default_rng(1)
    labels, folds = random.integers(2, size=(60, 1)), random.integers(4, size=60)
    each = tuple(
        (labels + random.normal(size=(60, 1))).round(1) / (1 + folds[:, None]) for _ in "ab"
    )
    found = TaskScores(("a",), labels, SeedScores(each, folds), np.arange(60).astype(object))
    areas = [compute_metrics(labels[:, 0], one[:, 0], ["auc"], folds)["auc"] for one in each]
    assert auc(*roc_points(found, 0)) == pytest.approx(np.mean(areas), abs=1e-12)


def _area(points: Points) -> float:
    """Area as the chart draws it: up or down first, then on."""
    recall, precision = points
    return float(np.diff(recall) @ precision[1:])


@pytest.mark.parametrize("ties", [False, True])
def test_area_under_the_curve_is_the_average_precision(ties: bool) -> None:
    found = _scores(1, 1, ties=ties)
    expected = average_precision_score(found.labels[:, 0], found.seeds.each[0][:, 0])
    recall, precision = precision_recall_points(found, 0)
    assert _area((recall, precision)) == pytest.approx(expected)
    assert (recall[0], recall[-1]) == (0, 1)
    assert precision[-1] >= found.labels.mean()


def test_curve_begins_with_its_first_step_even_below_one() -> None:
    labels, scores = np.array([[0], [1], [1]]), np.array([[0.9], [0.8], [0.7]])
    patients = np.arange(3).astype(object)
    recall, precision = precision_recall_points(
        TaskScores(("a",), labels, SeedScores((scores,)), patients), 0
    )
    assert recall == pytest.approx([0, 0.5, 1])
    assert precision == pytest.approx([0.5, 0.5, 2 / 3])


def test_area_over_runs_and_classes_is_the_mean_average_precision() -> None:
    found = _scores(2, 3)
    single = [
        average_precision_score(found.labels[:, k], one[:, k])
        for k in range(3)
        for one in found.seeds.each
    ]
    assert _area(precision_recall_points(found)) == pytest.approx(np.mean(single))
    assert _area(precision_recall_points(found, 1)) == pytest.approx(np.mean(single[2:4]))
    assert found.labels.mean() == pytest.approx(1 / 3)


def test_area_over_folds_is_the_average_precision_of_the_tables() -> None:
    random = np.random.default_rng(4)
    plain, folds = _scores(2, 1, ties=True), random.integers(4, size=60)
    each = tuple(one / (1 + folds[:, None]) for one in plain.seeds.each)
    found = TaskScores(("a",), plain.labels, SeedScores(each, folds), plain.patients)
    name = "average_precision"
    expected = [compute_metrics(plain.labels[:, 0], one[:, 0], [name], folds)[name] for one in each]
    assert _area(precision_recall_points(found, 0)) == pytest.approx(np.mean(expected))


def test_class_without_a_lesion_has_no_curve() -> None:
    found = _scores(1, 1)
    empty = TaskScores(found.classes, found.labels * 0, found.seeds, found.patients)
    assert [len(part) for part in precision_recall_points(empty, 0)] == [0, 0]
    assert [len(part) for part in precision_recall_points(empty)] == [0, 0]


def test_precision_recall_chart_draws_steps_and_the_share_of_the_class() -> None:
    found = _scores(1, 1)
    curves = {name: precision_recall_points(found, 0) for name in ("mae", "moco_v3")}
    areas = dict.fromkeys(curves, "0.7 (0.6 to 0.8)")
    figure = curve_figure(curves, areas, ("mae",), found.labels.mean())
    other, curve, level = figure.data
    assert (other.showlegend, curve.showlegend) == (False, True)
    assert (other.line.color, curve.line.color) == (PALE, method_style("mae").color)
    assert curve.name == "mae: 0.7 (0.6 to 0.8)"
    assert curve.line.shape == "vh"
    assert set(level.y) == {found.labels.mean()}
