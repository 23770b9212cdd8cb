"""The protocols beside the linear probe: what they give, and that chance has no part in it."""

import numpy as np
import pytest
import torch

from miram.errors import MiramError
from miram.evaluation.probes.knn import KnnConfig
from miram.evaluation.probes.mae import MaeProbeConfig
from miram.evaluation.probes.protocols import TrainingLesions
from miram.evaluation.statistics.metrics import compute_metrics

CONFIG = MaeProbeConfig(epochs=30, warmup_epochs=3, batch_size=64)


def data(kind="binary", n=400, d=6, seed=0):
    rng = np.random.default_rng(seed)
    features = rng.standard_normal((n, d))
    labels = {
        "binary": (features[:, 0] > 0).astype(int),
        "single": features[:, :3].argmax(axis=1),
        "multi": (features[:, :3] > 0.3).astype(int),
    }[kind]
    half = n // 2
    return (features[:half], labels[:half]), features[half:], labels[half:]


def probe(train, features, classes=2, config=CONFIG):
    patients = np.arange(len(train[0]))
    return config.scores(TrainingLesions(*train, patients, classes), features).scores


@pytest.mark.parametrize("kind", ["binary", "single", "multi"])
def test_probabilities_of_every_kind_tell_the_classes_apart(kind):
    train, features, labels = data(kind)
    config = CONFIG.model_copy(update={"base_lr": 0.3})
    scores = probe(train, features, 2 if kind == "binary" else 3, config)
    found = compute_metrics(labels, scores)
    assert found["auc" if kind == "binary" else "auc_macro"] > 0.97


def test_features_of_any_scale_are_brought_to_one():
    train, features, _ = data()
    expected = probe(train, features)
    scaled = (1000 * train[0] + 50, train[1])
    np.testing.assert_allclose(probe(scaled, 1000 * features + 50), expected, atol=2e-3)


def test_a_lesion_is_scored_alike_whoever_is_scored_beside_it():
    train, features, _ = data()
    np.testing.assert_allclose(probe(train, features[:3]), probe(train, features)[:3], atol=1e-6)


def test_scores_follow_from_the_seed_alone():
    train, features, _ = data()
    first = probe(train, features)
    torch.manual_seed(99)
    np.testing.assert_array_equal(probe(train, features), first)
    other = probe(train, features, config=CONFIG.model_copy(update={"seed": 1}))
    assert np.abs(other - first).max() > 1e-4


def test_fewer_lesions_than_a_batch_are_one_batch():
    train, features, labels = data(n=60)
    scores = probe(train, features, config=MaeProbeConfig(batch_size=256))
    assert compute_metrics(labels, scores)["auc"] > 0.8


def test_what_cannot_be_trained_is_reported():
    train, features, _ = data()
    with pytest.raises(MiramError, match="too few"):
        probe((train[0][:1], train[1][:1]), features)
    wild = CONFIG.model_copy(update={"weight_decay": 1e3})
    with pytest.raises(MiramError, match=r"diverged: lower evaluation.mae_probe.base_lr"):
        probe(train, features, config=wild)


def test_nearest_neighbors_are_asked_as_configured():
    train, features, labels = data()
    one, many = (probe(train, features, config=KnnConfig(neighbors=k)) for k in (1, 50))
    assert set(np.unique(one)) == {0.0, 1.0}
    assert compute_metrics(labels, many)["auc"] > compute_metrics(labels, one)["auc"]
