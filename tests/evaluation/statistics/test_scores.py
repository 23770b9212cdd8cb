"""Seeds and patients are separate sources of variance, and are told apart."""

import numpy as np
import pytest

from miram.evaluation.statistics import StatisticsError
from miram.evaluation.statistics.bootstrap import cluster_bootstrap
from miram.evaluation.statistics.comparison import compare_methods
from miram.evaluation.statistics.inputs import SeedScores, rarest_class
from miram.evaluation.statistics.metrics import compute_metrics
from miram.evaluation.statistics.per_class import class_rows
from miram.evaluation.statistics.subgroups import subgroup_rows

OPTIONS = {"draws": 200, "seed": 0}


@pytest.fixture
def patients():
    return np.repeat(np.arange(60), 2)


@pytest.fixture
def labels():
    return np.random.default_rng(0).integers(2, size=120)


def seed_scores(labels, seed, noise=0.6):
    noisy = labels + noise * np.random.default_rng(seed).normal(size=len(labels))
    return 1 / (1 + np.exp(1 - 2 * noisy))


def test_a_metric_is_the_mean_over_seeds(labels, patients):
    each = [seed_scores(labels, seed) for seed in range(3)]
    together = cluster_bootstrap(labels, SeedScores(tuple(each)), patients, **OPTIONS)
    alone = [cluster_bootstrap(labels, one, patients, **OPTIONS) for one in each]
    for name, interval in together.items():
        assert interval.estimate == pytest.approx(np.mean([one[name].estimate for one in alone]))
        assert interval.patients == 60


def test_the_same_scores_by_every_seed_are_no_more_sure_than_one(labels, patients):
    one = seed_scores(labels, 0)
    alone = cluster_bootstrap(labels, one, patients, **OPTIONS)
    thrice = cluster_bootstrap(labels, SeedScores((one, one, one)), patients, **OPTIONS)
    for name, interval in thrice.items():
        assert interval.lower == pytest.approx(alone[name].lower)
        assert interval.upper == pytest.approx(alone[name].upper)


def test_luck_of_the_seeds_averages_out_of_the_interval_but_not_that_of_the_patients(
    labels, patients
):
    def width(seeds):
        scores = SeedScores(tuple(seed_scores(labels, seed, noise=1.5) for seed in range(seeds)))
        interval = cluster_bootstrap(labels, scores, patients, ["auc"], **OPTIONS)["auc"]
        return interval.upper - interval.lower

    assert 0 < width(10) < 0.6 * width(1)


def test_a_method_of_many_seeds_compares_with_one_of_a_single_seed(labels, patients):
    good = SeedScores(tuple(seed_scores(labels, seed, noise=0.3) for seed in range(3)))
    poor = seed_scores(labels, 9, noise=3)
    (row,) = compare_methods(
        labels, {"good": good, "poor": poor}, patients, reference="poor", metric="auc", **OPTIONS
    )
    means = [
        np.mean([cluster_bootstrap(labels, one, patients, ["auc"], **OPTIONS)["auc"].estimate])
        for one in (*good.each, poor)
    ]
    assert row.difference == pytest.approx(np.mean(means[:3]) - means[3])
    assert row.lower > 0


def test_rows_of_classes_and_subgroups_are_means_over_seeds(labels, patients):
    each = [seed_scores(labels, seed) for seed in range(2)]
    both = SeedScores(tuple(each))
    site = patients % 2

    def by_class(scores):
        (row,) = class_rows(labels, scores, patients, ["no", "yes"], **OPTIONS)
        return row.metrics["auc"].estimate

    def by_site(scores):
        rows = subgroup_rows(
            labels, scores, patients, site, subgroup="site", metrics=["auc"], **OPTIONS
        )
        assert [row.verdict != "too few" for row in rows] == [True, True]
        return [row.difference.estimate for row in rows]

    assert by_class(both) == pytest.approx(np.mean([by_class(one) for one in each]))
    assert by_site(both) == pytest.approx(np.mean([by_site(one) for one in each], axis=0))


def test_seeds_that_scored_other_lesions_are_refused():
    with pytest.raises(StatisticsError, match=r"same lesions, got scores of \(3,\), \(4,\)"):
        SeedScores((np.zeros(3), np.zeros(4)))


def test_a_lesion_counts_for_its_rarest_label():
    hot = np.array([[1, 0, 1], [1, 0, 0], [1, 1, 0], [0, 0, 0]], bool)
    assert rarest_class(hot).tolist() == [2, 0, 1, 3]  # 3 as the last has none


def test_some_lesions_keep_their_repeats_and_folds():
    scores = SeedScores((np.arange(3.0), np.arange(3.0) / 2), np.array([0, 1, 0]), repeats=2)
    some = scores.of([0, 1])
    assert (some.seeds, some.repeats, some.folds.tolist()) == (1, 2, [0, 1])


def test_a_class_that_has_no_score_and_labels_of_another_shape_are_refused():
    with pytest.raises(StatisticsError, match="label"):
        compute_metrics([0, 1, 3], np.full((3, 3), 1 / 3), ["accuracy"])
    with pytest.raises(StatisticsError, match=r"labels of shape \(2, 3\) and scores of shape"):
        compute_metrics(np.zeros((2, 3)), np.zeros((2, 2)), ["auc_macro"])
