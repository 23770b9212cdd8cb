"""Training on labels: it learns, and no label of an evaluated patient reaches the encoder."""

import numpy as np
import pandas as pd
import pytest
import tiny
import torch
from sklearn.metrics import roc_auc_score
from tiny import assert_same, logged_losses, make_store

from miram.errors import MiramError
from miram.evaluation.features.extract import extract_features, feature_table
from miram.evaluation.features.pooling import FeatureConfig
from miram.evaluation.probes.linear import LinearProbeConfig
from miram.evaluation.probes.scoring import WHOLE, features_by_fold, score_by_fold
from miram.evaluation.tasks.pairs import evaluation_pairs
from miram.models.checkpoints.joined import split_folds
from miram.models.checkpoints.split_record import split_record
from miram.models.methods.backbone import TimmBackboneConfig
from miram.models.methods.supervised import SupervisedConfig
from miram.training.checkpointing.folder import TrainingFolder
from miram.training.data.augmentation import AugmentationConfig
from miram.training.folds import training_rows
from miram.training.optimizer import OptimizerConfig
from miram.training.supervised import train_supervised

ENCODER = tiny.ENCODER.model_copy(
    update={"overrides": {"depth": 1, "embed_dim": 64, "num_heads": 2}}
)
TRAINING = tiny.TRAINING.model_copy(
    update={
        "epochs": 40,
        "batch_size": 16,
        "log_every": 20,
        "optimizer": OptimizerConfig(base_lr=3e-2, warmup_epochs=2, weight_decay=0),
        "augmentation": AugmentationConfig(min_area=1, horizontal_flip=0, aspect=1),
    }
)
SHORT = TRAINING.model_copy(update={"epochs": 1})
COUNT = 48


def patients():
    return [f"P{i // 2}" for i in range(COUNT)]


def noise():
    random = np.random.default_rng(0)
    return random.integers(0, 65_536, (COUNT, 16, 16), dtype=np.uint16)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return make_store(tmp_path_factory.mktemp("noise") / "crops", noise())


def permuted_labels(seed=0):
    """One label per patient that the pixels know nothing of, as frequent in every fold.

    Unequal folds would push the AUC below one half: what is rare in a fold is frequent outside.
    """
    random = np.random.default_rng(seed)
    halves = np.arange(COUNT // 6) % 2
    by_fold = np.column_stack([random.permutation(halves) for _ in range(3)])
    return np.repeat(by_fold.ravel(), 2)


def splits(strategy="cv"):
    folds = np.repeat(np.arange(COUNT // 2) % 3, 2)
    names = [f"fold{fold}" for fold in folds]
    sides = np.array(["train", "val", "test"])[folds]
    return pd.DataFrame(
        {
            "lesion_id": [f"lesion{i}" for i in range(COUNT)],
            "patient_id": patients(),
            "strategy": strategy,
            "leakage": "drop",
            "split": names if strategy == "cv" else sides,
        }
    )


def trained(store, table, labels, training=TRAINING, rows=None, method=None, folder=None):
    rows = np.arange(COUNT) if rows is None else rows
    classes = labels.shape[1] if labels.ndim == 2 else int(labels.max()) + 1
    about = (classes, ENCODER, method or SupervisedConfig(), training)
    return train_supervised(store, table, rows, labels[rows], *about, folder=folder)


def unchanged(first, second):
    """Folds whose encoder has the same weights in both."""
    return [
        fold
        for fold, encoder in split_folds(second).items()
        if all(torch.equal(value, first[fold].state[k]) for k, value in encoder.state.items())
    ]


def probed(store, checkpoint, table, labels):
    """AUC of a probe over the folds of `table`, with the pipeline's own parts."""
    found = feature_table(checkpoint, table["lesion_id"], store.crops, store.masks, FeatureConfig())
    features = features_by_fold(found, table["lesion_id"])
    groups, split = (table[name].to_numpy(dtype=object) for name in ("patient_id", "split"))
    pairs = evaluation_pairs(table)
    result, _ = score_by_fold(features, labels, groups, pairs, split, LinearProbeConfig())
    assert np.array_equal(result.rows, np.arange(COUNT))
    return roc_auc_score(labels, result.scores)


def test_labels_of_a_fold_do_not_touch_its_encoder(store):
    table, labels = splits(), permuted_labels()
    evaluated = (table["split"] == "fold1").to_numpy()
    checkpoint = trained(store, table, labels, SHORT)[0]
    assert checkpoint.metadata["splits"] == split_record(table, by_part=True)
    first = split_folds(checkpoint)
    assert list(first) == ["fold0", "fold1", "fold2"]
    changed = np.where(evaluated, 1 - labels, labels)
    assert unchanged(first, trained(store, table, changed, SHORT)[0]) == ["fold1"]


def test_permuted_labels_give_chance_where_a_leaking_encoder_would_know_them(store):
    labels, table = permuted_labels(), splits()
    honest = [
        probed(store, trained(store, table, labels)[0], table, labels)
        for labels in (permuted_labels(seed) for seed in range(2))
    ]
    assert 0.3 < np.mean(honest) < 0.7
    everyone = splits("official").assign(split="train")
    leaking, history = trained(store, everyone, labels)
    assert history["accuracy"].iloc[-1] > 0.95
    assert probed(store, leaking, table, labels) > 0.9


def test_what_the_pixels_know_is_learned(tmp_path):
    labels = permuted_labels()
    ramp = np.linspace(0, 20_000, 16)
    signal = np.where(labels[:, None, None] > 0, ramp[:, None], ramp[None, :])
    pixels = (signal + noise() * 0.4).astype(np.uint16)
    store, table = make_store(tmp_path / "crops", pixels), splits()
    assert probed(store, trained(store, table, labels)[0], table, labels) > 0.9


def test_under_the_official_split_the_training_patients_alone_lend_labels(store):
    table, labels = splits("official"), permuted_labels()
    changed = np.where(table["split"] == "train", labels, 1 - labels)
    (first, history), (second, _) = (
        trained(store, table, given, SHORT) for given in (labels, changed)
    )
    assert_same(first.state, second.state)
    assert "folds" not in first.metadata
    assert "fold" not in history
    assert first.build().embed_dim == 64


def test_every_repeat_has_encoders_that_never_saw_the_labels_they_are_evaluated_by(store):
    table, labels = splits(), permuted_labels()
    thirds = [f"repeat2_fold{3 * row // COUNT}" for row in range(COUNT)]
    table = table.assign(split_repeat2=thirds)
    first = split_folds(trained(store, table, labels, SHORT)[0])
    assert sorted(first) == sorted({*table["split"], *thirds})
    for name in ("split", "split_repeat2"):
        evaluated = (table[name] == table[name].iloc[0]).to_numpy()
        second = trained(store, table, np.where(evaluated, 1 - labels, labels), SHORT)[0]
        assert unchanged(first, second) == [table[name].iloc[0]]


def test_sides_of_cross_validation_leave_their_own_fold_out():
    table = splits()
    for fold, side in training_rows(table).items():
        inside = set(table["patient_id"][table["split"] == fold])
        assert not inside & set(table["patient_id"].iloc[side])
        assert len(side) + (table["split"] == fold).sum() == COUNT
    assert list(training_rows(splits("official"))) == [WHOLE]


def test_history_and_tracker_go_on_from_fold_to_fold(store):
    with logged_losses() as reported:
        _, history = trained(store, splits(), permuted_labels(), SHORT)
    assert reported == history["step"].tolist()
    assert history["fold"].unique().tolist() == ["fold0", "fold1", "fold2"]
    assert history["step"].is_monotonic_increasing
    assert history["step"].is_unique


def test_folds_of_several_runs_join_and_the_header_records_each(store, tmp_path):
    def run(**changes):
        training, folder = SHORT.model_copy(update=changes), TrainingFolder(tmp_path)
        return trained(store, splits(), permuted_labels(), training, folder=folder)[0]

    first = run()
    assert "trained_otherwise" not in first.metadata
    (tmp_path / "fold1" / "finished.pt").unlink()
    again = run(batch_size=8, effective_batch=16)
    assert again.metadata["training"] == first.metadata["training"]
    (name, other) = again.metadata["trained_otherwise"].popitem()
    assert (name, other["training"]["batch_size"]) == ("fold1", 8)
    assert list(other) == ["training"]
    assert list(split_folds(again)) == ["fold0", "fold1", "fold2"]


def test_lesions_without_a_label_are_not_seen(store):
    rows = np.flatnonzero(np.arange(COUNT) % 4 != 0)
    labels = permuted_labels()
    other = np.where(np.arange(COUNT) % 4 == 0, 1 - labels, labels)
    first, second, inside = (
        trained(store, splits(), given, SHORT, rows)[0] for given in (labels, other, 1 - other)
    )
    assert_same(first.state, second.state)
    with pytest.raises(AssertionError):
        assert_same(first.state, inside.state)


def test_several_labels_per_lesion_train(store):
    labels = np.column_stack([permuted_labels(seed) for seed in range(3)])
    _, history = trained(store, splits("official"), labels, SHORT)
    assert np.isfinite(history["loss"]).all()


def test_its_own_number_of_epochs_holds(store):
    method = SupervisedConfig(epochs=3)
    checkpoint, history = trained(
        store, splits("official"), permuted_labels(), SHORT, method=method
    )
    assert history["epoch"].max() == 2
    assert checkpoint.metadata["training"]["epochs"] == 3


def test_without_labels_it_says_what_to_do(store):
    with pytest.raises(MiramError, match=r"give supervised\.method\.task a task"):
        trained(store, splits(), permuted_labels(), rows=np.arange(0))


def test_equal_encoders_per_fold_are_probed_as_one_for_all(store):
    table, labels = splits(), permuted_labels()
    features = np.random.default_rng(0).normal(size=(COUNT, 5))
    groups, split = (table[name].to_numpy(dtype=object) for name in ("patient_id", "split"))
    pairs = evaluation_pairs(table)
    one, several = (
        score_by_fold(
            dict.fromkeys(folds, features), labels, groups, pairs, split, LinearProbeConfig()
        )[0]
        for folds in ([WHOLE], ["fold0", "fold1", "fold2"])
    )
    np.testing.assert_array_equal(one.rows, several.rows)
    np.testing.assert_allclose(one.scores, several.scores)
    np.testing.assert_array_equal(one.pair, several.pair)


def test_folds_that_the_encoders_do_not_know_are_refused(store):
    table, labels = splits(), permuted_labels()
    groups, split = (table[name].to_numpy(dtype=object) for name in ("patient_id", "split"))
    features = np.zeros((COUNT, 2))
    by_fold, pairs = {"fold0": features, "fold9": features}, evaluation_pairs(table)
    with pytest.raises(MiramError, match="the splits are newer than the encoder"):
        score_by_fold(by_fold, labels, groups, pairs, split, LinearProbeConfig())


def test_any_timm_model_trains_on_labels_and_is_probed_like_the_others(store):
    backbone = TimmBackboneConfig(name="resnet10t", image_size=16)
    method = SupervisedConfig(backbone=backbone)
    table, labels = splits("official"), permuted_labels()
    checkpoint, history = trained(store, table, labels, SHORT, method=method)
    assert len(history)
    assert checkpoint.metadata["timm"]["model_name"] == "resnet10t"
    fresh = backbone.build_encoder(SHORT.seed).state_dict()
    assert not torch.equal(checkpoint.state["conv1.0.weight"], fresh["conv1.0.weight"])
    features = extract_features(checkpoint, store.crops, store.masks, FeatureConfig())
    assert features.shape == (COUNT, checkpoint.build().num_features)
