"""The patient-cluster bootstrap: coverage, clusters, order, undefined draws."""

from dataclasses import astuple

import numpy as np
import pytest
from scipy import stats

from miram.evaluation.statistics import StatisticsError, bootstrap
from miram.evaluation.statistics.bootstrap import (
    Resampled,
    cluster_bootstrap,
    percentile_interval,
    resample,
)
from miram.evaluation.statistics.delong import auc_interval
from miram.evaluation.statistics.inputs import SeedScores

PER_PATIENT = 2


def clustered(rng, patients, shift=1.0, shared=0.7):
    """Lesions whose labels and scores agree within a patient; marginal AUC is known."""
    groups = np.repeat(np.arange(patients), PER_PATIENT)
    labels = np.repeat(rng.random(patients) < 0.4, PER_PATIENT).astype(int)
    common = np.repeat(rng.standard_normal(patients), PER_PATIENT)
    noise = rng.standard_normal(len(groups))
    scores = shift * labels + np.sqrt(shared) * common + np.sqrt(1 - shared) * noise
    return labels, scores, groups


@pytest.mark.slow
def test_95_percent_intervals_hold_the_truth_in_95_percent_of_clustered_samples():
    truth = stats.norm.cdf(1.0 / np.sqrt(2))
    rng = np.random.default_rng(7)
    repetitions, held, held_without_clusters = 1000, 0, 0
    for repetition in range(repetitions):
        labels, scores, groups = clustered(rng, 120)
        interval = cluster_bootstrap(labels, scores, groups, ["auc"], draws=384, seed=repetition)
        held += interval["auc"].lower <= truth <= interval["auc"].upper
        naive = auc_interval(labels, scores)
        held_without_clusters += naive.lower <= truth <= naive.upper
    # The standard error of 1,000 repetitions at 95 % is 0.7 points.
    assert 0.93 <= held / repetitions <= 0.97
    # The same samples with patients ignored: the test can tell the difference.
    assert held_without_clusters / repetitions < 0.92


def predictions(seed=0, n=90, patients=40):
    rng = np.random.default_rng(seed)
    groups = np.array([f"P_{p:05d}" for p in rng.integers(0, patients, n)])
    binary = (rng.integers(0, 2, n), np.round(rng.random(n), 2))
    single = (rng.permutation(np.arange(n) % 3), rng.dirichlet(np.ones(3), n))
    multi = (rng.integers(0, 2, (n, 3)), rng.random((n, 3)))
    return groups, {"binary": binary, "single": single, "multi": multi}


@pytest.mark.parametrize("kind", ["binary", "single", "multi"])
def test_intervals_do_not_depend_on_the_order_of_rows(kind):
    groups, by_kind = predictions()
    labels, scores = by_kind[kind]
    first = cluster_bootstrap(labels, scores, groups, draws=200, seed=3)
    order = np.random.default_rng(1).permutation(len(groups))
    again = cluster_bootstrap(labels[order], scores[order], groups[order], draws=200, seed=3)
    assert first == again


def test_intervals_follow_from_the_seed_alone():
    groups, by_kind = predictions()
    first, again, other = (
        cluster_bootstrap(*by_kind["binary"], groups, ["auc"], draws=200, seed=seed)["auc"]
        for seed in (1, 1, 2)
    )
    assert first == again
    assert first.lower != other.lower


@pytest.mark.parametrize("at_once", [1, 1_000, 10**6])
def test_draws_do_not_depend_on_how_many_are_evaluated_at_once(monkeypatch, at_once):
    labels, scores, groups = clustered(np.random.default_rng(2), 13)  # some draws lack a class
    given = labels, scores, groups, ["auc", "average_precision"]
    expected = cluster_bootstrap(*given, draws=300, seed=3)
    monkeypatch.setattr(bootstrap, "AT_ONCE", at_once)
    found = cluster_bootstrap(*given, draws=300, seed=3)
    for name, interval in expected.items():
        np.testing.assert_allclose(astuple(found[name]), astuple(interval), rtol=1e-13)


def test_an_interval_says_what_it_rests_on():
    groups, by_kind = predictions()
    for interval in cluster_bootstrap(*by_kind["single"], groups, draws=200, seed=0).values():
        assert interval.lesions == len(groups)
        assert interval.patients == len(set(groups))
        assert interval.draws == 200
        assert interval.lower <= interval.upper


def test_every_lesion_of_a_drawn_patient_is_drawn_as_often():
    groups = np.array([5, 5, 5, 2, 2, 9])
    seen = []

    def remember(weights):
        seen.append(weights)
        return weights[:1]

    resample(remember, groups, draws=50, seed=0)
    weights = seen[-1]
    for patient in set(groups):
        same = weights[groups == patient]
        assert (same == same[0]).all()
    per_patient = np.stack([weights[groups == patient][0] for patient in set(groups)])
    assert (per_patient.sum(axis=0) == 3).all()


def test_draws_without_a_class_are_redrawn_and_counted():
    # Class 1 lives in one of 10 patients, which a draw misses with probability 0.9**10.
    groups = np.repeat(np.arange(10), 2)
    labels = (groups == 4).astype(int)
    scores = np.linspace(0.1, 0.9, len(groups))
    found = cluster_bootstrap(labels, scores, groups, ["auc", "brier"], draws=2000, seed=0)
    auc = found["auc"]
    assert auc.draws == 2000
    share = auc.undefined_draws / (auc.draws + auc.undefined_draws)
    assert share == pytest.approx(0.9**10, abs=0.03)
    # What was defined all along is not affected by another metric's redraws.
    assert found["brier"].undefined_draws == 0
    alone = cluster_bootstrap(labels, scores, groups, ["brier"], draws=2000, seed=0)
    assert found["brier"] == alone["brier"]


def test_a_metric_undefined_on_the_sample_has_no_interval():
    found = cluster_bootstrap([1, 1, 1], [0.2, 0.5, 0.9], [0, 1, 2], draws=100, seed=0)
    assert np.isnan(found["auc"].estimate) and np.isnan(found["auc"].lower)
    assert found["auc"].draws == 0
    assert found["brier"].draws == 100


def test_one_patient_gives_a_metric_but_no_interval():
    found = cluster_bootstrap([0, 1], [0.2, 0.9], ["a", "a"], ["auc"], draws=100, seed=0)["auc"]
    assert found.estimate == 1.0
    assert np.isnan(found.lower) and found.draws == 0


def test_rows_that_do_not_match_are_reported():
    with pytest.raises(StatisticsError, match="one row per lesion"):
        cluster_bootstrap([0, 1], [0.1, 0.2], ["a"], seed=0)


def test_an_interval_holds_the_middle_95_percent_of_the_draws():
    drawn = Resampled(np.linspace(0, 1, 2001), undefined=3)
    found = percentile_interval(0.4, drawn, np.array(["a", "a", "b"]))
    assert (found.lower, found.upper) == pytest.approx((0.025, 0.975))
    assert (found.estimate, found.lesions, found.patients) == (0.4, 3, 2)
    assert (found.draws, found.undefined_draws) == (2001, 3)


def test_draws_are_ranked_within_folds():
    labels, folds = np.tile([0, 1], 20), np.repeat([0, 1], 20)
    scores = SeedScores((labels + 10.0 * folds,), folds)
    found = cluster_bootstrap(labels, scores, np.arange(40), ["auc"], draws=50, seed=0)["auc"]
    assert (found.lower, found.estimate, found.upper) == (1.0, 1.0, 1.0)


def test_two_patients_and_one_draw_are_enough_one_patient_and_none_are_not():
    def count(weights):
        return weights.sum(axis=0, keepdims=True)

    (two,) = resample(count, ["a", "b"], draws=1, seed=0)
    assert (two.values.tolist(), two.undefined) == ([2.0], 0)
    (alone,) = resample(count, ["a", "a"], draws=5, seed=0)
    assert (alone.values.size, alone.undefined) == (0, 0)
    with pytest.raises(StatisticsError, match="draws must be at least 1, got 0"):
        resample(count, ["a", "b"], draws=0, seed=0)


def test_a_statistic_without_a_value_on_the_sample_has_no_draws():
    def undefined_as_it_is(weights):
        values = np.where((weights == 1).all(axis=0), np.nan, 1.0)
        return np.stack([values, np.ones_like(values)])

    given_up, defined = resample(undefined_as_it_is, list("abc"), draws=20, seed=0)
    assert (given_up.values.size, given_up.undefined) == (0, 0)
    assert defined.values.size == 20
