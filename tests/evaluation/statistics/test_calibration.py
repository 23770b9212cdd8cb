"""Calibration error, reliability curve and temperature."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special, stats

from miram.evaluation.statistics import StatisticsError
from miram.evaluation.statistics.calibration import (
    apply_temperature,
    fit_temperature,
    reliability_curve,
)
from miram.evaluation.statistics.metrics import compute_metrics


def error(outcome, confidence):
    return compute_metrics(outcome, confidence, ["ece"])["ece"]


def curve_of(outcome, confidence):
    """Of lesions of one patient each."""
    return reliability_curve(outcome, confidence, np.arange(len(outcome)))


def test_error_equals_its_definition_over_15_equal_bins():
    rng = np.random.default_rng(0)
    confidence = rng.random(300)
    outcome = (rng.random(300) < confidence**2).astype(int)
    order = np.argsort(confidence)
    bins = np.split(order, 15)
    expected = np.mean([abs(outcome[b].mean() - confidence[b].mean()) for b in bins])
    assert error(outcome, confidence) == pytest.approx(expected, abs=1e-12)


@given(st.integers(0, 2**32 - 1), st.integers(1, 200), st.integers(0, 3))
@settings(max_examples=50, deadline=None)
def test_error_is_the_mean_gap_of_the_curve_with_and_without_ties(seed, n, decimals):
    rng = np.random.default_rng(seed)
    confidence = np.round(rng.random(n), decimals)
    outcome = rng.integers(0, 2, n)
    curve = curve_of(outcome, confidence)
    gaps = sum(row.lesions * abs(row.frequency - row.confidence) for row in curve) / n
    assert error(outcome, confidence) == pytest.approx(gaps, abs=1e-12)
    assert sum(row.lesions for row in curve) == n


def test_equal_confidences_share_a_bin_whatever_the_order_of_rows():
    outcome = np.repeat([0, 1], 50)
    confidence = np.full(100, 0.5)
    (row,) = curve_of(outcome, confidence)
    assert (row.lesions, row.frequency) == (100, 0.5)
    order = np.random.default_rng(0).permutation(100)
    assert curve_of(outcome[order], confidence) == [row]
    assert error(outcome, confidence) == 0


def test_bins_hold_equal_numbers_and_intervals_hold_honest_probabilities():
    rng = np.random.default_rng(1)
    confidence = rng.random(15 * 200)
    outcome = rng.random(confidence.size) < confidence
    curve = curve_of(outcome, confidence)
    assert [row.lesions for row in curve] == [200] * 15
    assert sum(row.lower <= row.confidence <= row.upper for row in curve) >= 13


def test_lesions_of_one_patient_widen_the_interval():
    outcome, confidence = np.repeat([0, 1, 0, 1], 25), np.full(100, 0.5)
    (alone,) = curve_of(outcome, confidence)
    (grouped,) = reliability_curve(outcome, confidence, np.repeat(np.arange(20), 5))
    assert (grouped.lesions, grouped.patients) == (100, 20)
    assert grouped.lower < alone.lower < alone.upper < grouped.upper


@pytest.mark.parametrize("kind", ["binary", "single", "multi"])
def test_temperature_that_spoiled_the_probabilities_is_found(kind):
    rng = np.random.default_rng(2)
    n, planted = 20_000, 2.5
    if kind == "single":
        honest = rng.dirichlet(np.ones(3), n)
        labels = (rng.random((n, 1)) > honest.cumsum(axis=1)).sum(axis=1).clip(max=2)
    else:
        honest = rng.uniform(0.05, 0.95, n if kind == "binary" else (n, 3))
        labels = (rng.random(honest.shape) < honest).astype(int)
    multi = kind == "multi"
    too_sure = apply_temperature(honest, 1 / planted, multi=multi)
    found = fit_temperature(labels, too_sure)
    assert found == pytest.approx(planted, rel=0.05)
    mended = apply_temperature(too_sure, found, multi=multi)
    np.testing.assert_allclose(mended, honest, atol=0.02)


def test_temperature_one_changes_nothing_and_none_changes_the_decision():
    scores = np.random.default_rng(0).dirichlet(np.ones(4), 50)
    np.testing.assert_allclose(apply_temperature(scores, 1.0), scores, atol=1e-12)
    cooler = apply_temperature(scores, 3.0)
    np.testing.assert_array_equal(cooler.argmax(axis=1), scores.argmax(axis=1))
    np.testing.assert_allclose(cooler.sum(axis=1), 1)
    binary = apply_temperature(scores[:, 0], 2.0)
    np.testing.assert_allclose(special.logit(binary), special.logit(scores[:, 0]) / 2)


def test_scores_that_are_no_probabilities_are_reported():
    with pytest.raises(StatisticsError, match="probabilities between 0 and 1"):
        reliability_curve([0, 1], [0.2, 1.4], [0, 1])
    with pytest.raises(StatisticsError, match="no validation lesion"):
        fit_temperature([], [])


def test_classes_are_rescaled_by_the_softmax_of_their_logits():
    scores = np.random.default_rng(3).dirichlet(np.ones(4), 50)
    expected = scores ** (1 / 2.5)
    expected /= expected.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(apply_temperature(scores, 2.5), expected)


def test_certain_probabilities_stay_finite_and_equally_far_from_either_end():
    never, always = apply_temperature([0.0, 1.0], 2.0)
    assert never == pytest.approx(special.expit(special.logit(1e-15) / 2))
    assert always == pytest.approx(1 - never)
    np.testing.assert_allclose(
        apply_temperature([[0.0, 1.0]], 2.0), [[np.sqrt(1e-15), 1.0]], rtol=1e-6
    )


@pytest.mark.parametrize(("right", "limit"), [(1, 0.01), (0, 100)])
def test_temperatures_end_at_a_hundredth_and_at_a_hundred(right, limit):
    assert fit_temperature(np.full(20, right), np.full(20, 0.51)) == pytest.approx(limit, rel=1e-4)


def test_intervals_of_the_curve_are_wilsons():
    (row,) = reliability_curve([0, 0, 0, 1], np.full(4, 0.3), np.arange(4))
    z, n, p = stats.norm.ppf(0.975), 4, 0.25
    middle, reach = p + z**2 / (2 * n), z * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    assert row.lower == pytest.approx((middle - reach) / (1 + z**2 / n))
    assert row.upper == pytest.approx((middle + reach) / (1 + z**2 / n))


def test_of_several_classes_the_highest_probability_is_right_or_wrong():
    rng = np.random.default_rng(4)
    scores, labels = rng.dirichlet(np.ones(3), 300), rng.integers(0, 3, 300)
    right = (scores.argmax(axis=1) == labels).astype(int)
    assert error(labels, scores) == pytest.approx(error(right, scores.max(axis=1)))
    assert error(labels, scores) != pytest.approx(error(1 - right, scores.max(axis=1)))
