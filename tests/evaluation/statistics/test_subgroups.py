"""Subgroups: their metrics, their verdicts, and none where there are too few lesions."""

import numpy as np
import pandas as pd
import pytest

from miram.evaluation.statistics.bootstrap import cluster_bootstrap
from miram.evaluation.statistics.comparison import holm
from miram.evaluation.statistics.subgroups import TOO_FEW, subgroup_rows


def lesions(seed=0, n=600):
    rng = np.random.default_rng(seed)
    groups = rng.integers(0, n // 2, n)
    density = rng.integers(1, 4, n)
    labels = rng.integers(0, 2, n)
    # Density 3 hides the lesion; elsewhere it shows.
    signal = np.where(density == 3, 0.0, 2.0)
    return labels, signal * labels + rng.standard_normal(n), groups, density


def test_the_subgroup_in_which_the_method_fails_is_named():
    labels, scores, groups, density = lesions()
    rows = subgroup_rows(
        labels, scores, groups, density, subgroup="density", metrics=["auc"], draws=400, seed=0
    )
    assert [(row.value, row.verdict) for row in rows][-1] == ("3", "lower")
    assert all(row.p_holm >= row.p_value for row in rows)
    assert sum(row.intervals["auc"].lesions for row in rows) == len(labels)


def test_a_row_holds_the_metrics_of_its_lesions_alone():
    labels, scores, groups, density = lesions()
    rows = subgroup_rows(
        labels, scores, groups, density, subgroup="density", metrics=["auc"], draws=200, seed=5
    )
    inside = density == 1
    alone = cluster_bootstrap(
        labels[inside], scores[inside], groups[inside], ["auc"], draws=200, seed=5
    )
    assert rows[0].intervals == alone
    assert rows[0].intervals["auc"].patients == len(set(groups[inside]))


@pytest.mark.parametrize(("n_small", "too_few"), [(29, True), (30, False)])
def test_no_verdict_under_30_patients(n_small, too_few):
    labels, scores, groups, _ = lesions()
    few = np.isin(groups, np.unique(groups)[:n_small])
    rows = subgroup_rows(
        labels,
        scores,
        groups,
        np.where(few, "MLO", "CC"),
        subgroup="view",
        metrics=["auc"],
        draws=100,
        seed=0,
    )
    assert [row.verdict == TOO_FEW for row in rows] == [too_few, too_few]
    small = rows[1].intervals["auc"]
    assert small.patients == n_small < small.lesions == few.sum()
    assert small.draws == 100
    assert (rows[1].difference is None) == too_few


@pytest.mark.parametrize(("n_small", "known"), [(4, False), (5, True)])
def test_no_interval_under_5_patients(n_small, known):
    labels, scores, groups, _ = lesions()
    few = np.isin(groups, np.unique(groups)[:n_small])
    options = {"subgroup": "view", "metrics": ["accuracy"], "draws": 100, "seed": 0}
    rows = subgroup_rows(labels, scores, groups, np.where(few, "MLO", "CC"), **options)
    interval = rows[1].intervals["accuracy"]
    assert np.isfinite(interval.estimate)
    assert np.isfinite([interval.lower, interval.upper]).tolist() == [known, known]


def test_no_interval_where_every_draw_gives_the_same():
    labels, scores, groups, _ = lesions()
    few = np.isin(groups, np.unique(groups)[:8])
    reported = np.where(few, labels, scores)  # in the first eight patients nothing is mistaken
    options = {"subgroup": "view", "metrics": ["auc"], "draws": 100, "seed": 0}
    rows = subgroup_rows(labels, reported, groups, np.where(few, "MLO", "CC"), **options)
    assert rows[1].intervals["auc"].estimate == 1
    assert np.isnan(rows[1].intervals["auc"].lower)
    assert rows[0].intervals["auc"].lower < rows[0].intervals["auc"].upper


def test_missing_values_have_a_row_of_their_own():
    labels, scores, groups, density = lesions()
    values = pd.Series(density).map({1: "cc", 2: "mlo", 3: "xccl"})
    values[:40] = pd.NA
    rows = subgroup_rows(
        labels, scores, groups, values, subgroup="density", metrics=["auc"], draws=100, seed=0
    )
    assert [row.value for row in rows] == ["cc", "mlo", "xccl", "missing"]
    assert rows[-1].intervals["auc"].lesions == 40


def test_a_subgroup_without_one_class_is_undefined():
    labels, scores, groups, _ = lesions()
    rows = subgroup_rows(
        labels,
        scores,
        groups,
        np.where(labels == 1, "a", "b"),
        subgroup="side",
        metrics=["auc"],
        draws=100,
        seed=0,
    )
    assert {row.verdict for row in rows} == {"undefined"}


def test_rows_do_not_depend_on_the_order_of_lesions():
    labels, scores, groups, density = lesions(n=200)
    order = np.random.default_rng(0).permutation(len(labels))
    options = {"subgroup": "density", "metrics": ["auc"], "draws": 100, "seed": 0}
    first = subgroup_rows(labels, scores, groups, density, **options)
    again = subgroup_rows(labels[order], scores[order], groups[order], density[order], **options)
    assert first == again


def test_one_value_against_the_other_is_one_test():
    labels, scores, groups, density = lesions()
    rows = subgroup_rows(
        labels, scores, groups, density == 3, subgroup="dense", metrics=["auc"], draws=400, seed=0
    )
    assert len(rows) == 2
    assert all(row.p_holm == row.p_value for row in rows)
    assert rows[0].difference.estimate == pytest.approx(-rows[1].difference.estimate)


def test_three_values_are_three_tests_and_each_has_its_verdict():
    labels, scores, groups, density = lesions(n=900)
    options = {"subgroup": "density", "metrics": ["auc", "accuracy"], "draws": 400, "seed": 0}
    rows = subgroup_rows(labels, scores, groups, density.astype(float), **options)
    verdicts = [(row.value, row.verdict) for row in rows]
    assert verdicts == [("1", "higher"), ("2", "higher"), ("3", "lower")]
    assert [row.p_holm for row in rows] == pytest.approx(holm([row.p_value for row in rows]))
    assert {(row.subgroup, row.metric) for row in rows} == {("density", "auc")}


def test_groups_that_do_not_differ_have_that_verdict():
    labels, scores, groups, _ = lesions()
    any_side = np.random.default_rng(1).choice(["left", "right"], len(labels))
    options = {"subgroup": "side", "metrics": ["auc"], "draws": 200, "seed": 0}
    rows = subgroup_rows(labels, scores, groups, any_side, **options)
    assert {row.verdict for row in rows} == {"no difference shown"}
