"""Metrics agree with scikit-learn, with and without ties, plain and weighted."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from miram.evaluation.statistics import StatisticsError
from miram.evaluation.statistics.metrics import compute_metrics, evaluate, metrics_of, prepare

SEEDS = st.integers(0, 2**32 - 1)
TIES = st.booleans()
CLASSES = 4


def make_binary(seed, ties):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(8, 60))
    labels = rng.permutation(np.arange(n) % 2)
    scores = rng.random(n)
    return labels, np.round(scores, 1) if ties else scores


def make_single(seed, ties):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(3 * CLASSES, 60))
    labels = rng.permutation(np.arange(n) % CLASSES)
    scores = rng.integers(1, 4, (n, CLASSES)) if ties else rng.random((n, CLASSES)) + 0.01
    return labels, scores / scores.sum(axis=1, keepdims=True)


def make_multi(seed, ties):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(10, 60))
    labels = rng.permuted(np.tile((np.arange(n) % 3 == 0)[:, None], (1, CLASSES)), axis=0)
    scores = rng.random((n, CLASSES))
    return labels.astype(int), np.round(scores, 1) if ties else scores


def sklearn_binary(labels, scores):
    called = scores > 0.5
    rate, sensitivity, _ = sk.roc_curve(labels, scores, drop_intermediate=False)
    return {
        "auc": sk.roc_auc_score(labels, scores),
        "average_precision": sk.average_precision_score(labels, scores),
        "sensitivity_at_90_specificity": sensitivity[rate <= 0.1 + 1e-9].max(),
        "accuracy": sk.accuracy_score(labels, called),
        "balanced_accuracy": sk.balanced_accuracy_score(labels, called),
        "f1": sk.f1_score(labels, called, zero_division=0),
        "brier": sk.brier_score_loss(labels, scores),
        "log_loss": sk.log_loss(labels, scores),
    }


def sklearn_single(labels, scores):
    hot = np.eye(CLASSES)[labels]
    called = scores.argmax(axis=1)
    return {
        "auc_macro": sk.roc_auc_score(labels, scores, multi_class="ovr"),
        "auc_micro": sk.roc_auc_score(hot.ravel(), scores.ravel()),
        "average_precision": sk.average_precision_score(hot, scores, average="macro"),
        "average_precision_micro": sk.average_precision_score(hot, scores, average="micro"),
        "accuracy": sk.accuracy_score(labels, called),
        "balanced_accuracy": sk.balanced_accuracy_score(labels, called),
        "f1": sk.f1_score(labels, called, average="macro", zero_division=0),
        "brier": ((scores - hot) ** 2).sum(axis=1).mean(),
        "log_loss": sk.log_loss(labels, scores),
    }


def sklearn_multi(labels, scores):
    called = (scores > 0.5).astype(int)
    columns = range(labels.shape[1])
    return {
        "auc_macro": sk.roc_auc_score(labels, scores, average="macro"),
        "auc_micro": sk.roc_auc_score(labels, scores, average="micro"),
        "average_precision": sk.average_precision_score(labels, scores, average="macro"),
        "average_precision_micro": sk.average_precision_score(labels, scores, average="micro"),
        "accuracy": sk.accuracy_score(labels, called),
        "balanced_accuracy": np.mean(
            [sk.balanced_accuracy_score(labels[:, k], called[:, k]) for k in columns]
        ),
        "f1": sk.f1_score(labels, called, average="macro", zero_division=0),
        "brier": np.mean([sk.brier_score_loss(labels[:, k], scores[:, k]) for k in columns]),
        "log_loss": np.mean([sk.log_loss(labels[:, k], scores[:, k]) for k in columns]),
    }


KINDS = {
    "binary": (make_binary, sklearn_binary),
    "single": (make_single, sklearn_single),
    "multi": (make_multi, sklearn_multi),
}


@pytest.mark.parametrize("kind", KINDS)
@given(seed=SEEDS, ties=TIES)
@settings(max_examples=25, deadline=None)
def test_metrics_equal_scikit_learn(kind, seed, ties):
    make, expected = KINDS[kind]
    labels, scores = make(seed, ties)
    found = compute_metrics(labels, scores)
    assert set(found) == set(metrics_of(kind))
    for name, value in expected(labels, scores).items():
        assert found[name] == pytest.approx(value, abs=1e-9), name


@pytest.mark.parametrize("kind", KINDS)
@given(seed=SEEDS, ties=TIES)
@settings(max_examples=25, deadline=None)
def test_whole_weights_equal_repeated_samples(kind, seed, ties):
    labels, scores = KINDS[kind][0](seed, ties)
    rng = np.random.default_rng(seed)
    weights = rng.integers(0, 4, (len(labels), 3))
    predictions, names = prepare(labels, scores)
    found = dict(zip(names, evaluate(predictions, names, weights), strict=True))
    for draw in range(weights.shape[1]):
        rows = np.repeat(np.arange(len(labels)), weights[:, draw])
        if not len(rows):
            continue
        for name, value in compute_metrics(labels[rows], scores[rows]).items():
            assert found[name][draw] == pytest.approx(value, abs=1e-9, nan_ok=True), name


def test_a_missing_class_makes_a_macro_metric_undefined_instead_of_smaller():
    labels = np.array([0, 1, 1, 0])
    scores = np.full((4, 3), 1 / 3)
    found = compute_metrics(labels, scores)
    assert np.isnan(found["auc_macro"]) and np.isnan(found["balanced_accuracy"])
    assert np.isfinite(found["accuracy"]) and np.isfinite(found["auc_micro"])


def test_multi_label_samples_with_several_labels_are_right_only_if_every_label_is():
    labels = np.array([[1, 1, 0], [0, 1, 1], [1, 0, 0]])
    scores = np.array([[0.9, 0.8, 0.1], [0.2, 0.9, 0.4], [0.7, 0.1, 0.3]])
    found = compute_metrics(labels, scores)
    assert found["accuracy"] == pytest.approx(2 / 3)
    # Every true label is above every false one of its column, so ranking is perfect.
    assert found["auc_macro"] == found["average_precision"] == 1.0
    # Label 2 is never called: recall 0, specificity 1.
    assert found["balanced_accuracy"] == pytest.approx((1 + 1 + 0.5) / 3)
    assert found["f1"] == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("labels", "scores", "metrics", "message"),
    [
        ([0, 1], [0.1, 1.7], None, "have to be probabilities"),
        ([0, 1], [[0.9, 0.9], [0.5, 0.5]], None, "have to be probabilities"),
        ([0, 2], [0.1, 0.7], None, "labels of a binary task"),
        ([0, 1], [0.1, float("nan")], ["auc"], "not finite"),
        ([0, 1], [0.1, 0.2], ["area"], "no metric 'area'"),
        ([0, 1, 1], [0.1, 0.2], None, "do not belong together"),
        ([], [], None, "do not belong together"),
    ],
)
def test_wrong_input_is_reported(labels, scores, metrics, message):
    with pytest.raises(StatisticsError, match=message):
        compute_metrics(np.array(labels), np.array(scores), metrics)


def test_metrics_of_ranking_need_no_probabilities():
    assert compute_metrics([0, 1, 1], [-3.0, 10.0, 7.0], ["auc"]) == {"auc": 1.0}


def test_a_specificity_that_is_reached_exactly_counts():
    labels = np.repeat([0, 1], [10, 2])
    scores = np.append(np.arange(10.0), [8.5, 9.5])  # one of ten negatives is above 8.5
    metric = "sensitivity_at_90_specificity"
    assert compute_metrics(labels, scores, [metric])[metric] == 1.0


def test_scores_are_ranked_within_folds():
    labels, folds = np.tile([0, 1], 6), np.repeat([0, 1], 6)
    scores = labels + 10.0 * folds
    assert compute_metrics(labels, scores, ["auc"], folds) == {"auc": 1.0}
    assert compute_metrics(labels, scores, ["auc"])["auc"] < 1


def test_one_negative_lesion_gives_a_sensitivity_and_none_gives_no_number():
    metric = "sensitivity_at_90_specificity"
    assert compute_metrics([0, 1, 1], [0.5, 0.4, 0.6], [metric]) == {metric: 0.5}
    assert np.isnan(compute_metrics([1, 1], [0.4, 0.6], [metric])[metric])
