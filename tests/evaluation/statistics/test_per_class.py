"""Metrics of one class against the rest: equal to scikit-learn, with intervals."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from miram.evaluation.statistics import StatisticsError
from miram.evaluation.statistics.bootstrap import cluster_bootstrap
from miram.evaluation.statistics.inputs import SeedScores
from miram.evaluation.statistics.metrics import class_metrics, evaluate
from miram.evaluation.statistics.per_class import class_rows, confusion_matrix
from miram.evaluation.statistics.weighted import Predictions

NAMES = ["a", "b", "c", "d"]


def predictions(kind, seed=0, n=90):
    rng = np.random.default_rng(seed)
    groups = rng.integers(0, 40, n)
    if kind == "binary":
        return rng.integers(0, 2, n), np.round(rng.random(n), 2), groups
    if kind == "single":
        return rng.permutation(np.arange(n) % 4), rng.dirichlet(np.ones(4), n), groups
    return rng.integers(0, 2, (n, 4)), np.round(rng.random((n, 4)), 2), groups


def rows_of(kind, **options):
    labels, scores, groups = predictions(kind)
    names = NAMES[:2] if kind == "binary" else NAMES
    return class_rows(labels, scores, groups, names, draws=100, seed=0, **options)


@given(seed=st.integers(0, 2**32 - 1), ties=st.booleans())
@settings(max_examples=30, deadline=None)
def test_metrics_equal_scikit_learn_under_any_whole_weights(seed, ties):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(8, 50))
    true = rng.permutation(np.arange(n) % 2).astype(bool)
    scores = np.round(rng.random(n), 1 if ties else 8)
    called = scores > 0.5
    weights = rng.integers(1, 4, n)
    one_class = Predictions(true.astype(int), scores).of_class(1)
    values = evaluate(one_class, class_metrics(), weights[:, None])
    found = dict(zip(class_metrics(), values, strict=True))
    options = {"sample_weight": weights}
    decided = {**options, "zero_division": np.nan}
    expected = {
        "auc": sk.roc_auc_score(true, scores, **options),
        "average_precision": sk.average_precision_score(true, scores, **options),
        "sensitivity": sk.recall_score(true, called, **decided),
        "specificity": sk.recall_score(~true, ~called, **decided),
        "precision": sk.precision_score(true, called, **decided),
        "f1": sk.f1_score(true, called, **{**options, "zero_division": 0}),
    }
    for name, value in expected.items():
        assert found[name][0] == pytest.approx(value, abs=1e-9, nan_ok=True), name


@pytest.mark.parametrize("kind", ["binary", "single", "multi"])
def test_a_class_has_the_interval_of_its_own_binary_question(kind):
    labels, scores, groups = predictions(kind)
    first = 1 if kind == "binary" else 0
    for k, row in enumerate(rows_of(kind), start=first):
        true = labels == k if labels.ndim == 1 else labels[:, k] == 1
        column = scores if scores.ndim == 1 else scores[:, k]
        expected = cluster_bootstrap(true.astype(int), column, groups, ["auc"], draws=100, seed=0)
        found = row.metrics["auc"]
        assert found.estimate == pytest.approx(expected["auc"].estimate)
        assert (found.lower, found.upper) == pytest.approx(
            (expected["auc"].lower, expected["auc"].upper), abs=0.03
        )
        assert (row.lesions, row.patients) == (true.sum(), len(set(groups[true])))


def test_rows_and_confusion_matrix_agree_with_each_other():
    labels, scores, _ = predictions("single")
    matrix = confusion_matrix(labels, scores)
    rows = rows_of("single")
    assert [row.name for row in rows] == NAMES
    for k, row in enumerate(rows):
        assert row.lesions == matrix[k].sum()
        assert row.metrics["sensitivity"].estimate == pytest.approx(matrix[k, k] / matrix[k].sum())
        assert row.metrics["precision"].estimate == pytest.approx(matrix[k, k] / matrix[:, k].sum())


def test_the_row_of_a_binary_task_is_of_the_positive_class():
    labels, scores, _ = predictions("binary")
    (row,) = rows_of("binary")
    assert row.name == "b"
    expected = sk.recall_score(labels, scores > 0.5), sk.recall_score(1 - labels, scores <= 0.5)
    found = row.metrics["sensitivity"].estimate, row.metrics["specificity"].estimate
    assert found == pytest.approx(expected)


def test_precision_of_a_class_never_called_is_undefined_and_its_f1_is_0():
    rows = class_rows(
        np.array([0, 0, 1, 1]),
        np.array([0.1, 0.2, 0.3, 0.4]),
        [0, 1, 2, 3],
        NAMES[:2],
        draws=100,
        seed=0,
    )
    metrics = rows[0].metrics
    assert np.isnan(metrics["precision"].estimate) and metrics["precision"].draws == 0
    assert (metrics["f1"].estimate, metrics["sensitivity"].estimate) == (0.0, 0.0)


@pytest.mark.parametrize("kind", ["binary", "single", "multi"])
def test_rows_do_not_depend_on_the_order_of_lesions(kind):
    labels, scores, groups = predictions(kind)
    order = np.random.default_rng(1).permutation(len(groups))
    names = NAMES[:2] if kind == "binary" else NAMES
    turned = class_rows(labels[order], scores[order], groups[order], names, draws=100, seed=0)
    assert turned == rows_of(kind)


def test_names_that_do_not_fit_are_reported():
    labels, scores, groups = predictions("single")
    with pytest.raises(StatisticsError, match="3 class names"):
        class_rows(labels, scores, groups, NAMES[:3], seed=0)


def test_several_labels_at_once_have_a_confusion_matrix_each():
    labels, scores, _ = predictions("multi")
    matrices = confusion_matrix(labels, scores)
    for label, matrix in enumerate(matrices):
        expected = sk.confusion_matrix(labels[:, label], scores[:, label] > 0.5)
        np.testing.assert_array_equal(matrix, expected)


def test_classes_are_ranked_within_folds():
    labels, scores, groups = predictions("single")
    folds = groups % 2
    options = {"groups": groups, "classes": NAMES, "draws": 20, "seed": 0}
    (first, *_) = class_rows(labels, SeedScores((scores,), folds), **options)
    (moved, *_) = class_rows(labels, SeedScores((scores,)), **options)
    inside = [
        sk.roc_auc_score(labels[folds == fold] == 0, scores[folds == fold, 0]) for fold in (0, 1)
    ]
    assert min(inside) <= first.metrics["auc"].estimate <= max(inside)
    assert first.metrics["auc"].estimate != moved.metrics["auc"].estimate
