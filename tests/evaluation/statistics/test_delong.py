"""DeLong's variance against its definition, a published example, and the bootstrap."""

import numpy as np
import pytest
from scipy import special, stats

from miram.evaluation.statistics import StatisticsError
from miram.evaluation.statistics.bootstrap import resample
from miram.evaluation.statistics.delong import auc_covariance, auc_interval, auc_test
from miram.evaluation.statistics.metrics import evaluate, prepare


def by_definition(labels, scores):
    """Placement values pair by pair, as in DeLong et al. 1988, equations 3 to 6."""
    x, y = scores[:, labels == 1], scores[:, labels == 0]
    wins = (x[:, :, None] > y[:, None, :]) + 0.5 * (x[:, :, None] == y[:, None, :])
    v10, v01 = wins.mean(axis=2), wins.mean(axis=1)
    covariance = np.cov(v10) / v10.shape[1] + np.cov(v01) / v01.shape[1]
    return wins.mean(axis=(1, 2)), np.atleast_2d(covariance)


@pytest.mark.parametrize("decimals", [0, 1, 8])
def test_covariance_equals_the_definition_with_and_without_ties(decimals):
    rng = np.random.default_rng(decimals)
    labels = rng.permutation(np.arange(35) % 3 == 0).astype(int)
    scores = np.round(labels + rng.standard_normal((3, 35)), decimals)
    areas, covariance = auc_covariance(labels, scores)
    expected_areas, expected = by_definition(labels, scores)
    np.testing.assert_allclose(areas, expected_areas)
    np.testing.assert_allclose(covariance, expected, atol=1e-14)


def test_published_example_of_109_ct_images_rated_by_one_reader():
    # Ratings 1 to 5 of 58 normal and 51 abnormal images: Hanley & McNeil, Radiology 143:29, 1982,
    # table 1. The area with DeLong's standard error is the example of Stata's manual for roctab.
    normal, abnormal = [33, 6, 6, 11, 2], [3, 2, 2, 11, 33]
    labels = np.repeat([0, 1], [sum(normal), sum(abnormal)])
    ratings = np.concatenate([np.repeat(np.arange(5), counts) for counts in (normal, abnormal)])
    found = auc_interval(labels, ratings)
    assert found.auc == pytest.approx(0.8932, abs=5e-5)
    assert found.standard_error == pytest.approx(0.0307, abs=5e-5)


def clustered(patients, seed, mixed=0.1):
    """Lesions that share much within a patient; `mixed` of 0.5 makes labels independent."""
    rng = np.random.default_rng(seed)
    groups = np.repeat(np.arange(patients), 3)
    labels = np.repeat(rng.random(patients) < 0.4, 3)
    labels = (labels ^ (rng.random(patients * 3) < mixed)).astype(int)
    common = np.repeat(rng.standard_normal(patients), 3)
    return labels, labels + 2 * common + 0.5 * rng.standard_normal((2, patients * 3)), groups


@pytest.mark.parametrize("mixed", [0.1, 0.5])
def test_clustered_variance_agrees_with_the_patient_bootstrap(mixed):
    labels, scores, groups = clustered(200, 0, mixed)
    _, covariance = auc_covariance(labels, scores, groups)
    pair = [prepare(labels, row, ["auc"]) for row in scores]
    drawn = resample(
        lambda weights: np.stack([evaluate(*one, weights)[0] for one in pair]),
        groups,
        draws=2000,
        seed=0,
    )
    expected = np.cov(np.stack([one.values for one in drawn]))
    np.testing.assert_allclose(covariance, expected, rtol=0.12)


def test_lesions_taken_as_independent_understate_the_variance_of_clustered_ones():
    labels, scores, groups = clustered(200, 0)
    _, by_patient = auc_covariance(labels, scores, groups)
    _, independent = auc_covariance(labels, scores)
    assert (np.diag(independent) < 0.8 * np.diag(by_patient)).all()


def test_one_lesion_per_patient_leaves_delong():
    labels, scores, _ = clustered(30, 1)
    patients = np.random.default_rng(0).permutation(labels.size)
    _, clustered_form = auc_covariance(labels, scores, patients)
    _, plain = auc_covariance(labels, scores)
    np.testing.assert_allclose(clustered_form, plain)


def test_test_of_two_scores_equals_the_definition():
    labels, scores, _ = clustered(40, 2)
    areas, covariance = by_definition(labels, scores)
    contrast = np.array([1.0, -1.0])
    z = contrast @ areas / np.sqrt(contrast @ covariance @ contrast)
    assert auc_test(labels, *scores) == pytest.approx(2 * stats.norm.sf(abs(z)))


def test_equal_scores_are_not_different():
    labels, scores, groups = clustered(40, 3)
    assert auc_test(labels, scores[0], 2 * scores[0] + 1, groups) == 1.0


def test_logit_intervals_stay_inside_the_unit_interval():
    labels = np.repeat([0, 1], 8)
    scores = np.arange(16.0)
    scores[7] = 8.5
    found = auc_interval(labels, scores)
    assert found.auc + 1.96 * found.standard_error > 1
    assert 0 < found.lower < found.auc < found.upper < 1
    spread = special.logit([found.lower, found.auc, found.upper])
    reach = stats.norm.ppf(0.975) * found.standard_error / (found.auc * (1 - found.auc))
    assert np.diff(spread) == pytest.approx([reach, reach])


def test_too_few_patients_of_a_class_are_reported():
    with pytest.raises(StatisticsError, match="1 positive and 3 negative"):
        auc_interval([0, 0, 0, 1], [1, 2, 3, 4])


def test_the_test_counts_patients_and_folds_as_the_covariance_does():
    labels, scores, groups = clustered(40, 4)
    folds = groups % 2
    found = [auc_test(labels, *scores, *given) for given in ((), (groups,), (groups, folds))]
    assert len(set(found)) == 3
    for p_value, given in zip(found, ((), (groups,), (groups, folds)), strict=True):
        areas, covariance = auc_covariance(labels, scores, *given)
        z = (areas[0] - areas[1]) / np.sqrt(np.array([1, -1]) @ covariance @ np.array([1, -1]))
        assert p_value == pytest.approx(2 * stats.norm.sf(abs(z)))


def test_a_difference_without_variance_has_no_p_value():
    labels, perfect = np.repeat([0, 1], 6), np.arange(12.0)
    assert np.isnan(auc_test(labels, perfect, -perfect))
    assert auc_test(labels, perfect, perfect) == 1.0


def test_intervals_count_patients_and_folds_as_the_covariance_does():
    labels, scores, groups = clustered(40, 5)
    for given in ((), (groups,), (groups, groups % 2)):
        areas, covariance = auc_covariance(labels, scores[0], *given)
        found = auc_interval(labels, scores[0], *given)
        assert (found.auc, found.standard_error**2) == pytest.approx((areas[0], covariance[0, 0]))


@pytest.mark.parametrize("area", [0.0, 1.0])
def test_at_either_end_the_interval_is_a_point(area):
    found = auc_interval(np.repeat([0, 1], 5), (2 * area - 1) * np.arange(10.0))
    assert (found.auc, found.standard_error, found.lower, found.upper) == (area, 0, area, area)


def test_clustered_covariance_equals_the_definition():
    # Obuchowski, Biometrics 53:567, 1997: sums of a patient take the place of single lesions.
    labels, scores, groups = clustered(25, 6, mixed=0.3)
    positive, negative = labels == 1, labels == 0
    x, y = scores[:, positive], scores[:, negative]
    wins = (x[:, :, None] > y[:, None, :]).astype(float)
    areas = wins.mean(axis=(1, 2))
    above, below = wins.mean(axis=2) - areas[:, None], wins.mean(axis=1) - areas[:, None]
    patients = np.unique(groups)
    a = np.stack([above[:, groups[positive] == one].sum(axis=1) for one in patients], axis=1)
    b = np.stack([below[:, groups[negative] == one].sum(axis=1) for one in patients], axis=1)
    with_x, with_y = (len(np.unique(groups[part])) for part in (positive, negative))
    m, n, total = positive.sum(), negative.sum(), len(patients)
    expected = (
        with_x / (with_x - 1) / m**2 * (a @ a.T)
        + with_y / (with_y - 1) / n**2 * (b @ b.T)
        + total / (total - 1) / (m * n) * (a @ b.T + b @ a.T)
    )
    np.testing.assert_allclose(auc_covariance(labels, scores, groups)[1], expected)


def test_folds_count_by_their_pairs():
    labels, scores, _ = clustered(30, 7)
    folds = np.arange(len(labels)) % 3 // 2  # a large and a small one
    areas, covariance = auc_covariance(labels, scores + 100 * folds, folds=folds)
    parts = [by_definition(labels[folds == one], scores[:, folds == one]) for one in (0, 1)]
    pairs = [
        (labels[folds == one] == 1).sum() * (labels[folds == one] == 0).sum() for one in (0, 1)
    ]
    shares = np.array(pairs) / sum(pairs)
    np.testing.assert_allclose(areas, shares @ np.stack([area for area, _ in parts]))
    expected = sum(share**2 * one for share, (_, one) in zip(shares, parts, strict=True))
    np.testing.assert_allclose(covariance, expected)


def test_two_patients_of_either_class_are_enough():
    assert np.isfinite(auc_covariance([0, 0, 1, 1], [1.0, 3.0, 2.0, 4.0])[1]).all()
