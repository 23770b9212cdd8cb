"""Scores of different classifiers are not comparable: under cross-validation lesions are ranked
within their fold."""

from itertools import product

import numpy as np
import pytest
from scipy import stats
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, roc_auc_score

from miram.evaluation.statistics.bootstrap import cluster_bootstrap, resample
from miram.evaluation.statistics.comparison import compare_methods
from miram.evaluation.statistics.delong import auc_covariance, auc_interval, auc_test
from miram.evaluation.statistics.inputs import SeedScores
from miram.evaluation.statistics.metrics import compute_metrics, evaluate, metrics_of, prepare
from miram.evaluation.statistics.per_class import class_rows
from miram.evaluation.statistics.subgroups import subgroup_rows
from miram.evaluation.tasks.pairs import out_of_fold

OPTIONS = {"draws": 200, "seed": 0}
PATIENTS = np.repeat(np.arange(60), 2)
FOLDS = PATIENTS % 4
LABELS = np.random.default_rng(0).integers(2, size=120)


def scores_of(seed, labels=LABELS):
    noise = np.random.default_rng(seed).normal(size=len(labels))
    return np.round(1 / (1 + np.exp(-(labels + noise))), 2)  # with ties


def shifted(scores):
    """As by classifiers that are sure of themselves to different degrees."""
    return scores / (1 + FOLDS.reshape(-1, *[1] * (scores.ndim - 1)))


def by_definition(labels, scores, weights):
    """The share of pairs within a fold that are ranked right."""
    right = total = 0.0
    for first, second in product(range(len(labels)), repeat=2):
        if labels[first] > labels[second] and FOLDS[first] == FOLDS[second]:
            pair = weights[first] * weights[second]
            total += pair
            difference = scores[first] - scores[second]
            right += pair * (0.5 if difference == 0 else float(difference > 0))
    return right / total


def test_area_is_the_share_of_pairs_within_a_fold_that_are_ranked_right():
    scores, random = scores_of(1), np.random.default_rng(2)
    weights = random.integers(0, 4, (120, 3)).astype(float)
    (found,) = evaluate(*prepare(LABELS, scores, ["auc"], FOLDS), weights)
    expected = [by_definition(LABELS, scores, column) for column in weights.T]
    assert found == pytest.approx(expected, abs=1e-12)


def test_average_precision_counts_a_fold_as_much_as_it_has_positives():
    scores, positives = scores_of(1), [LABELS[fold == FOLDS].sum() for fold in range(4)]
    each = [average_precision_score(LABELS[f == FOLDS], scores[f == FOLDS]) for f in range(4)]
    found = compute_metrics(LABELS, scores, ["average_precision"], FOLDS)["average_precision"]
    assert found == pytest.approx(np.average(each, weights=positives))


@pytest.mark.parametrize("kind", ["binary", "single", "multi"])
def test_one_fold_is_none(kind):
    random = np.random.default_rng(3)
    scores = scores_of(1) if kind == "binary" else random.dirichlet(np.ones(3), 120)
    labels = {"binary": LABELS, "single": random.integers(3, size=120)}.get(
        kind, random.integers(2, size=(120, 3))
    )
    assert compute_metrics(labels, scores, folds=np.ones(120)) == compute_metrics(labels, scores)


@pytest.mark.parametrize("kind", ["single", "multi"])
def test_no_metric_of_ranking_depends_on_the_scale_of_a_fold(kind):
    random = np.random.default_rng(3)
    labels = random.integers(3, size=120) if kind == "single" else random.integers(2, size=(120, 3))
    scores = random.normal(size=(120, 3))
    names = metrics_of(kind, "ranks")
    plain = compute_metrics(labels, scores, names, FOLDS)
    assert compute_metrics(labels, shifted(scores), names, FOLDS) == pytest.approx(plain)
    assert compute_metrics(labels, shifted(scores), names) != pytest.approx(plain)


def test_every_table_ranks_within_folds():
    one, other = scores_of(1), scores_of(2)
    values = np.arange(120) // 2 % 2

    def tables(first, second):
        first, second = (SeedScores((scores,), FOLDS) for scores in (first, second))
        methods = {"a": first, "b": second}
        (row,) = class_rows(LABELS, first, PATIENTS, ["benign", "malignant"], **OPTIONS)
        options = {"groups": PATIENTS, "metrics": ["auc"], **OPTIONS}
        subgroups = subgroup_rows(LABELS, first, values=values, subgroup="x", **options)
        return [
            cluster_bootstrap(LABELS, first, PATIENTS, ["auc"], **OPTIONS)["auc"],
            compare_methods(LABELS, methods, PATIENTS, reference="b", metric="auc", **OPTIONS)[0],
            row.metrics["auc"],
            *[(item.intervals["auc"], item.difference) for item in subgroups],
        ]

    assert tables(shifted(one), shifted(other)) == tables(one, other)


def test_scores_that_know_nothing_have_an_area_of_a_half():
    """Pooled, a constant feature is below 0.5: a fold with many positives has low scores."""
    pooled, within = [], []
    for seed in range(60):
        random = np.random.default_rng(seed)
        labels, folds = random.integers(2, size=40), np.arange(40) % 5
        features = np.column_stack([np.ones(40), random.normal(size=40)])

        pairs = [(np.flatnonzero(folds != f), np.flatnonzero(folds == f)) for f in range(5)]
        scores = []
        for train, evaluated in pairs:
            model = LogisticRegression(C=0.1).fit(features[train], labels[train])
            scores.append(model.predict_proba(features[evaluated])[:, 1])
        found = out_of_fold(pairs, scores)
        pooled.append(roc_auc_score(labels, found.scores))
        within.append(compute_metrics(labels, found.scores, ["auc"], found.pair)["auc"])
    error = np.std(within) / np.sqrt(len(within))
    assert np.mean(pooled) < 0.45
    assert abs(np.mean(within) - 0.5) < 3 * error


def test_delong_within_folds_agrees_with_the_patient_bootstrap():
    patients = np.repeat(np.arange(200), 3)
    random = np.random.default_rng(5)
    labels = np.repeat(random.random(200) < 0.4, 3).astype(int)
    common = np.repeat(random.normal(size=200), 3)
    scores = labels + common + 0.5 * random.normal(size=(2, 600))
    folds = patients % 3
    areas, covariance = auc_covariance(labels, scores, patients, folds)
    pair = [prepare(labels, row, ["auc"], folds) for row in scores]
    drawn = resample(
        lambda weights: np.concatenate([evaluate(*one, weights) for one in pair]),
        patients,
        draws=2000,
        seed=0,
    )
    expected = np.cov(np.stack([one.values for one in drawn]))
    np.testing.assert_allclose(covariance, expected, rtol=0.15)
    assert areas[0] == pytest.approx(compute_metrics(labels, scores[0], ["auc"], folds)["auc"])
    found = auc_interval(labels, scores[0], patients, folds)
    assert found.auc == areas[0]
    z = (areas[0] - areas[1]) / np.sqrt(np.array([1, -1]) @ covariance @ [1, -1])
    assert auc_test(labels, *scores, patients, folds) == pytest.approx(2 * stats.norm.sf(abs(z)))
