"""The linear probe: right, honest about evaluation rows, and independent of order."""

import numpy as np
import pytest
from pydantic import ValidationError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold
from sklearn.preprocessing import StandardScaler

from miram.errors import MiramError
from miram.evaluation.probes.linear import (
    LinearProbeConfig,
    fit_classifier,
    log_loss,
)
from miram.evaluation.probes.protocols import TrainingLesions
from miram.evaluation.probes.scoring import WHOLE, score_by_fold
from miram.evaluation.statistics.metrics import compute_metrics
from miram.evaluation.tasks.pairs import ordered_rows

CONFIG = LinearProbeConfig(regularization=(1e-3, 1e-1, 10.0))
ONE_C = LinearProbeConfig(regularization=(0.1,))


def data(kind="binary", n=240, d=12, seed=0):
    rng = np.random.default_rng(seed)
    groups = np.array([f"P_{p:05d}" for p in np.sort(rng.integers(0, n // 2, n))])
    features = rng.standard_normal((n, d)) * np.arange(1, d + 1) + 5
    signal = (features - 5) / np.arange(1, d + 1) + 0.7 * rng.standard_normal((n, d))
    labels = {
        "binary": (signal[:, 0] > 0).astype(int),
        "single": signal[:, :4].argmax(axis=1),
        "multi": (signal[:, :3] > 0.4).astype(int),
    }[kind]
    pairs = list(GroupKFold(3).split(features, groups=groups))
    return features, labels, groups, pairs


def classified(features, labels, groups, train, config=CONFIG):
    """The classifier that training rows give."""
    classes = labels.shape[1] if labels.ndim == 2 else labels.max() + 1
    train = ordered_rows(features, groups, train)
    given = TrainingLesions(features[train], labels[train], groups[train], classes)
    return fit_classifier(given, config)


def scored(features, labels, groups, pairs, config=CONFIG):
    """The scores of all evaluation rows."""
    found, _ = score_by_fold(
        {WHOLE: features}, labels, groups, pairs, np.zeros(len(labels)), config
    )
    return found


@pytest.mark.parametrize("kind", ["binary", "single", "multi"])
def test_scores_equal_scikit_learn_on_standardised_features(kind):
    features, labels, groups, pairs = data(kind)
    found = scored(features, labels, groups, pairs[:1], ONE_C)
    (train, evaluation), *_ = pairs
    scaler = StandardScaler().fit(features[train])
    model = LogisticRegression(C=0.1, tol=1e-8, max_iter=2000)
    columns = labels.T if kind == "multi" else [labels]
    expected = [
        model.fit(scaler.transform(features[train]), column[train]).predict_proba(
            scaler.transform(features[evaluation])
        )
        for column in columns
    ]
    shaped = {
        "binary": expected[0][:, 1],
        "single": expected[0],
        "multi": np.stack([one[:, 1] for one in expected], axis=1) if kind == "multi" else None,
    }[kind]
    np.testing.assert_allclose(found.scores, shaped, atol=1e-3)
    np.testing.assert_array_equal(found.rows, evaluation)


@pytest.mark.parametrize("kind", ["binary", "single", "multi"])
def test_every_lesion_is_scored_out_of_fold_and_better_than_chance(kind):
    features, labels, groups, pairs = data(kind)
    result = scored(features, labels, groups, pairs)
    np.testing.assert_array_equal(result.rows, np.arange(len(labels)))
    metric = "auc" if kind == "binary" else "auc_macro"
    assert compute_metrics(labels, result.scores)[metric] > 0.7


@pytest.mark.parametrize("kind", ["binary", "single", "multi"])
def test_evaluation_rows_influence_neither_scores_nor_temperature(kind):
    features, labels, groups, pairs = data(kind)
    evaluation = pairs[0][1]
    spoiled, turned = features.copy(), labels.copy()
    spoiled[evaluation[1:]] *= 100
    turned[evaluation] = np.roll(labels[evaluation], 1, axis=0)
    given = groups, pairs[:1], np.zeros(len(labels)), CONFIG
    first, [fit] = score_by_fold({WHOLE: features}, labels, *given)
    again, [other] = score_by_fold({WHOLE: spoiled}, turned, *given)
    np.testing.assert_array_equal(first.scores[0], again.scores[0])
    assert fit.temperature == other.temperature != 1.0


def test_losses_are_those_of_the_lesions_held_out():
    hot = np.array([[True], [False], [True]])
    unsure, wrong = ([0.6], [0.4], [0.6]), ([0.9], [0.99], [0.9])
    partly, unknown = ([0.8], [np.nan], [np.nan]), [[np.nan]] * 3
    expected = [-np.log(0.6), -(2 * np.log(0.9) + np.log(0.01)) / 3, -np.log(0.8), np.inf]
    found = [log_loss(np.array(scores), hot) for scores in (unsure, wrong, partly, unknown)]
    np.testing.assert_allclose(found, expected)


def test_the_penalty_is_chosen_by_held_out_loss_and_the_strongest_of_equals():
    features, labels, groups, pairs = data()
    lesions = pairs[0][0]
    noise = np.random.default_rng(0).standard_normal(features.shape)
    assert classified(noise, labels, groups, lesions).regularization == 0.001
    assert classified(0 * noise, labels, groups, lesions).regularization == 0.001
    easy = np.column_stack([labels + 0.0, features])
    assert classified(easy, labels, groups, lesions).regularization == 10.0


def test_the_penalty_chosen_has_the_least_loss_of_those_kept():
    features, labels, groups, pairs = data()
    classifier = classified(features, labels, groups, pairs[0][0])
    assert list(classifier.inner_loss) == list(CONFIG.regularization)
    assert min(classifier.inner_loss, key=classifier.inner_loss.get) == classifier.regularization


def test_a_penalty_at_the_end_of_those_tried_is_reported():
    features, labels, groups, pairs = data()
    middle = classified(features, labels, groups, pairs[0][0], ONE_C)
    assert middle.warning == ""  # there was no other
    noise = np.random.default_rng(0).standard_normal(features.shape)
    strongest = classified(noise, labels, groups, pairs[0][0])
    assert strongest.warning == "the strongest penalty tried was chosen, C = 0.001"


@pytest.mark.parametrize("kind", ["binary", "single", "multi"])
def test_the_temperature_cools_a_classifier_that_is_too_sure(kind):
    _, labels, groups, pairs = data(kind, n=300)
    noise = np.random.default_rng(0).standard_normal((300, 60))
    weak = LinearProbeConfig(regularization=(10.0,))
    assert classified(noise, labels, groups, pairs[0][0], weak).temperature > 2


def test_a_kept_classifier_gives_the_same_scores_again():
    features, labels, groups, pairs = data("single")
    result = scored(features, labels, groups, pairs[:1])
    again = classified(features, labels, groups, pairs[0][0]).predict(features[result.rows])
    np.testing.assert_allclose(again, result.scores)
    np.testing.assert_allclose(again.sum(axis=1), 1)


def test_a_class_that_training_lacks_gets_no_probability():
    features, labels, groups, pairs = data("single")
    train, evaluation = pairs[0]
    without = train[labels[train] != 2]
    result = scored(features, labels, groups, [(without, evaluation)], ONE_C)
    assert result.scores.shape == (len(evaluation), 4)
    assert (result.scores[:, 2] == 0).all()
    two = train[labels[train] < 2]
    result = scored(features, labels, groups, [(two, evaluation)], ONE_C)
    assert (result.scores[:, 2:] == 0).all()
    easy = labels[evaluation] < 2
    called = result.scores[easy].argmax(axis=1)
    assert np.mean(called == labels[evaluation][easy]) > 0.6


def test_a_label_that_never_occurs_in_training_keeps_a_small_constant():
    features, labels, groups, pairs = data("multi")
    train, _ = pairs[0]
    labels[train, 1] = 0
    scores = scored(features, labels, groups, pairs[:1]).scores
    assert np.ptp(scores[:, 1]) == 0
    assert 0 < scores[0, 1] < 0.01


def test_constant_features_are_harmless():
    features, labels, groups, pairs = data()
    padded = np.column_stack([features, np.full(len(labels), 3.3)])
    expected = scored(features, labels, groups, pairs, ONE_C).scores
    found = scored(padded, labels, groups, pairs, ONE_C).scores
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_what_cannot_be_learned_from_is_reported():
    features, labels, groups, pairs = data()
    with pytest.raises(MiramError, match="at least two patients and two classes"):
        scored(features, labels * 0, groups, pairs)
    features[7, 3] = np.nan
    with pytest.raises(MiramError, match=r"1 of 240 lesions .* first in row 7"):
        scored(features, labels, groups, pairs)


@pytest.mark.parametrize("values", [(), (0.0, 1.0), (1.0, 0.1), (1.0, 1.0)])
def test_a_grid_that_is_not_positive_and_ascending_is_refused(values):
    with pytest.raises(ValidationError):
        LinearProbeConfig(regularization=values)


def test_inner_folds_choose_the_block_of_features_that_knows_the_label():
    features, labels, groups, pairs = data()
    noise = np.random.default_rng(1).standard_normal((2, *features.shape))
    layers = np.column_stack([noise[0], features, noise[1]])
    chosen = CONFIG.model_copy(update={"blocks": 3})
    found = scored(layers, labels, groups, pairs, chosen)
    alone = scored(features, labels, groups, pairs)
    np.testing.assert_allclose(found.scores, alone.scores, rtol=1e-5)


def test_blocks_that_do_not_fit_the_features_are_refused():
    features, labels, groups, pairs = data()
    chosen = CONFIG.model_copy(update={"blocks": 5})
    with pytest.raises(MiramError, match=r"blocks is 5, but 12 features .* features.layers"):
        scored(features, labels, groups, pairs, chosen)
