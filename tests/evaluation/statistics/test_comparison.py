"""Paired comparisons: uniform p-values under the null, Holm, pairing, order."""

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from miram.evaluation.statistics import StatisticsError
from miram.evaluation.statistics.comparison import compare_methods, holm, two_sided_p
from miram.evaluation.statistics.inputs import SeedScores


def two_equal_methods(rng, patients=100, per_patient=2):
    groups = np.repeat(np.arange(patients), per_patient)
    labels = np.repeat(rng.random(patients) < 0.4, per_patient).astype(int)
    common = np.repeat(rng.standard_normal((2, patients)), per_patient, axis=1)
    signal = labels + 0.5 * rng.standard_normal(len(groups))
    first, second = signal + 0.6 * common + 0.5 * rng.standard_normal((2, len(groups)))
    return labels, {"first": first, "second": second}, groups


@pytest.mark.slow
def test_p_values_are_uniform_where_methods_are_equal():
    rng = np.random.default_rng(5)
    p_values = []
    for repetition in range(500):
        labels, scores, groups = two_equal_methods(rng)
        (row,) = compare_methods(
            labels, scores, groups, reference="first", metric="auc", draws=384, seed=repetition
        )
        p_values.append(row.p_value)
    assert stats.kstest(p_values, "uniform").pvalue > 0.01
    # The end that decides: 5 % of them are below 0.05, give or take 2.5 standard errors.
    assert 0.025 <= np.mean(np.array(p_values) < 0.05) <= 0.075


def test_a_better_method_is_found_and_the_interval_agrees_with_the_p_value():
    labels, scores, groups = two_equal_methods(np.random.default_rng(0), patients=300)
    scores["better"] = scores["first"] + 2 * labels
    rows = compare_methods(labels, scores, groups, reference="first", metric="auc", seed=0)
    by_name = {row.method: row for row in rows}
    assert list(by_name) == ["second", "better"]
    assert by_name["better"].p_value < 0.01 and by_name["better"].lower > 0
    assert by_name["second"].p_value > 0.05
    assert by_name["second"].lower < 0 < by_name["second"].upper
    assert by_name["better"].p_value == pytest.approx(2 / 2001)


def test_p_values_are_corrected_over_the_methods_compared():
    rng = np.random.default_rng(3)
    labels, scores, groups = two_equal_methods(rng)
    for extra in range(3):
        scores[f"noisy {extra}"] = scores["first"] + (extra + 1) * rng.standard_normal(len(labels))
    rows = compare_methods(
        labels, scores, groups, reference="first", metric="auc", draws=400, seed=0
    )
    expected = multipletests([row.p_value for row in rows], method="holm")[1]
    assert [row.p_holm for row in rows] == expected.tolist()


def test_holm_equals_the_worked_definition_and_skips_undefined_ones():
    # Sorted: 0.01 * 3, 0.02 * 2, 0.04 * 1, made monotone.
    np.testing.assert_allclose(
        holm([0.04, float("nan"), 0.01, 0.02]), [0.04, float("nan"), 0.03, 0.04]
    )
    assert holm([0.9, 0.4, 0.6]) == [1.0, 1.0, 1.0]


def test_a_method_compared_with_its_copy_differs_by_nothing():
    labels, scores, groups = two_equal_methods(np.random.default_rng(1))
    (row,) = compare_methods(
        labels,
        {"a": scores["first"], "b": scores["first"]},
        groups,
        reference="a",
        metric="auc",
        draws=200,
        seed=0,
    )
    assert (row.difference, row.lower, row.upper, row.p_value) == (0.0, 0.0, 0.0, 1.0)


def test_comparisons_do_not_depend_on_the_order_of_rows_or_methods():
    labels, scores, groups = two_equal_methods(np.random.default_rng(2))
    scores["third"] = np.round(scores["first"], 1)
    options = {"reference": "first", "metric": "auc", "draws": 200, "seed": 4}
    expected = compare_methods(labels, scores, groups, **options)
    order = np.random.default_rng(0).permutation(len(labels))
    turned = {name: scores[name][order] for name in reversed(scores)}
    found = compare_methods(labels[order], turned, groups[order], **options)
    assert sorted(found, key=lambda row: row.method) == sorted(expected, key=lambda row: row.method)


def test_two_sided_p_counts_the_smaller_tail_twice():
    assert two_sided_p([-1.0, 1.0, 2.0, 3.0]) == pytest.approx(2 * 2 / 5)
    assert two_sided_p(np.ones(999)) == pytest.approx(2 / 1000)
    assert np.isnan(two_sided_p([]))


def test_an_unknown_reference_is_reported():
    with pytest.raises(StatisticsError, match="reference method 'random' has no scores"):
        compare_methods([0, 1], {"mae": [0.1, 0.2]}, [0, 1], reference="random", seed=0)


def test_methods_scored_on_different_lesions_are_reported():
    with pytest.raises(StatisticsError, match=r"same lesions, got mae \(2,\), moco \(1,\)"):
        compare_methods([0, 1], {"mae": [0.1, 0.2], "moco": [0.1]}, [0, 1], reference="mae", seed=0)


def test_a_row_says_what_was_compared_on_how_many_in_how_many_draws():
    labels, scores, groups = two_equal_methods(np.random.default_rng(4))
    seeds = SeedScores((scores["first"], scores["second"]))
    options = {"reference": "first", "draws": 100, "seed": 0}
    (row,) = compare_methods(labels, {**scores, "second": seeds}, groups, **options)
    assert (row.method, row.reference, row.metric) == ("second", "first", "auc")
    assert (row.lesions, row.patients) == (len(labels), len(set(groups)))
    assert (row.draws, row.undefined_draws) == (100, 0)
    assert (row.seeds, row.reference_seeds) == (2, 1)
