"""Fine-tuning: labels of evaluated patients stay out, validation patients choose the epoch."""

import pickle
import signal
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import tiny
import torch
from tiny import logged_losses, make_store
from typer.testing import CliRunner

from miram.commands.app import app
from miram.errors import MiramError
from miram.evaluation.config import AssessmentConfig
from miram.finetuning.config import FinetuningConfig, RecipeConfig
from miram.finetuning.evaluate import ClassifierMetrics, assess_finetuned
from miram.finetuning.model import (
    ABOUT,
    VALIDATION_AUC,
    FineTuned,
    classify,
    split_models,
)
from miram.finetuning.split import cut_by_patient, finetuning_splits
from miram.finetuning.train import LabeledCrops, finetune
from miram.models.checkpoints.files import EncoderCheckpoint
from miram.models.checkpoints.joined import join_folds
from miram.training.checkpointing.folder import TrainingFolder
from miram.training.checkpointing.interruption import TrainingInterrupted
from miram.training.data.augmentation import AugmentationConfig
from miram.training.optimizer import OptimizerConfig

ENCODER = tiny.ENCODER.model_copy(
    update={"overrides": {"depth": 2, "embed_dim": 32, "num_heads": 2}}
)
TRAINING = tiny.TRAINING.model_copy(update={"epochs": 1, "batch_size": 16})
RECIPE = RecipeConfig(
    epochs=3,
    batch_size=16,
    pooling="patches",
    drop_path=0.1,
    optimizer=OptimizerConfig(base_lr=2e-2, warmup_epochs=0, layer_decay=0.8),
    augmentation=AugmentationConfig(min_area=1, aspect=1, horizontal_flip=0.5),
)
CONFIG = FinetuningConfig(
    task="pathology", recipe="own", recipes={"own": RECIPE}, validation_share=0.25
)
PROBE = AssessmentConfig(bootstrap_draws=100)
COUNT = 72
LABELS = np.repeat(np.arange(COUNT // 2) // 3 % 2, 2)  # one per patient, in every fold
PATIENTS = np.array([f"P{i // 2:02d}" for i in range(COUNT)])
NAMES = [f"lesion{i:02d}" for i in range(COUNT)]


def table(strategy="official"):
    part = np.arange(COUNT) // 2 % 3
    names = [f"fold{i}" for i in part] if strategy == "cv" else np.array(["train", "val", "test"])
    split = names if strategy == "cv" else names[part]
    if strategy == "official":  # twice as many train as validate
        split = np.where(PATIENTS > "P29", "train", split)
    return pd.DataFrame(
        {
            "lesion_id": NAMES,
            "patient_id": PATIENTS,
            "strategy": strategy,
            "leakage": "drop",
            "split": split,
        }
    )


def striped_store(folder, strength=0.0):
    """Crops of noise; with a strength, those of label 1 have a ramp in the other direction."""
    noise = np.random.default_rng(0).integers(0, 30_000, (COUNT, 16, 16))
    ramp = np.linspace(0, 20_000 * strength, 16)
    signal_ = np.where(LABELS[:, None, None] > 0, ramp[:, None], ramp[None, :])
    return make_store(folder, (noise + signal_).astype(np.uint16), NAMES, PATIENTS)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return striped_store(tmp_path_factory.mktemp("noise") / "crops")


@pytest.fixture(scope="module")
def encoder():
    return start()


def start(seed=0):
    header = {"timm": ENCODER.timm_arguments, "image_size": ENCODER.image_size}
    return EncoderCheckpoint.of(ENCODER.build(seed), header)


def data(store, strategy="official", labels=LABELS):
    several = labels.ndim == 2
    classes = tuple("ABC"[: labels.shape[1]]) if several else ("benign", "malignant")
    return LabeledCrops(store, table(strategy), labels, classes, "multi" if several else "binary")


def run(lesions, encoder, metrics=None, folder=None, config=CONFIG, **changes):
    metrics = metrics or ClassifierMetrics(lesions.kind, 0)
    training = TRAINING.model_copy(update=changes)
    return finetune(lesions, encoder, config, training, metrics, folder=folder)


def with_recipe(**changes):
    return CONFIG.model_copy(update={"recipes": {"own": RECIPE.model_copy(update=changes)}})


def same(first, second):
    assert first.keys() == second.keys()
    return all(torch.equal(value, second[name]) for name, value in first.items())


def test_labels_of_evaluated_patients_do_not_touch_the_weights(store, encoder):
    evaluated = (table()["split"] == "test").to_numpy()
    first, _ = run(data(store), encoder)
    second, _ = run(data(store, labels=np.where(evaluated, 1 - LABELS, LABELS)), encoder)
    learned, _ = run(data(store, labels=np.where(evaluated, LABELS, 1 - LABELS)), encoder)
    assert same(first.state, second.state)
    assert not same(first.state, learned.state)


def test_labels_of_a_fold_do_not_touch_its_model(store, encoder):
    evaluated = (table("cv")["split"] == "fold1").to_numpy()
    config = with_recipe(epochs=1)
    first, history = run(data(store, "cv"), encoder, config=config)
    changed = data(store, "cv", np.where(evaluated, 1 - LABELS, LABELS))
    second, _ = run(changed, encoder, config=config)
    touched = {
        fold: not same(model.state_dict(), split_models(second)[fold].state_dict())
        for fold, model in split_models(first).items()
    }
    assert touched == {"fold0": True, "fold1": False, "fold2": True}
    assert history["fold"].unique().tolist() == ["fold0", "fold1", "fold2"]
    assert history["step"].is_monotonic_increasing and history["step"].is_unique


class Scripted:
    """Gives the metrics it was made with, epoch by epoch, and remembers whom it was asked about."""

    def __init__(self, values):
        self.values, self.patients, self.scores = list(values), set(), []

    def __call__(self, labels, scores, patients):
        self.patients |= set(patients)
        self.scores.append(scores)
        return {VALIDATION_AUC: self.values[min(len(self.scores), len(self.values)) - 1]}


def test_the_epoch_is_the_best_on_validation_patients_alone(store, encoder):
    metrics = Scripted([0.5, 0.9, 0.9])
    checkpoint, history = run(data(store), encoder, metrics)
    lesions = table()
    assert metrics.patients == set(lesions["patient_id"][lesions["split"] == "val"])
    assert checkpoint.metadata[ABOUT]["folds"][0]["epoch"] == 2
    assert history[VALIDATION_AUC].dropna().tolist() == [0.5, 0.9, 0.9]
    np.testing.assert_array_equal(metrics.scores[-1], metrics.scores[1])  # of the result
    assert not np.allclose(metrics.scores[1], metrics.scores[2])


def test_a_training_that_is_interrupted_after_its_best_epoch_ends_with_the_same_weights(
    store, encoder, tmp_path
):
    """The best epoch is before the signal, so its weights must come from the state."""
    values = [0.5, 0.9, 0.6, 0.7]
    config = with_recipe(epochs=4)
    straight, expected = run(data(store), encoder, Scripted(values), config=config)

    class Interrupting(Scripted):
        def __call__(self, labels, scores, patients):
            if len(self.scores) == 2:
                signal.raise_signal(signal.SIGTERM)
            return super().__call__(labels, scores, patients)

    folder = TrainingFolder(tmp_path / "finetuning")
    with pytest.raises(TrainingInterrupted):
        run(data(store), encoder, Interrupting(values), folder, config)
    assert folder.unfinished
    resumed, history = run(data(store), encoder, Scripted(values[3:]), folder, config)
    assert same(resumed.state, straight.state)
    assert resumed.metadata[ABOUT]["folds"][0]["epoch"] == 2
    assert history["loss"].tolist() == expected["loss"].tolist()
    # A finished one is taken as it is: the selected weights, not the last ones.
    again, _ = run(data(store), encoder, Scripted([0.1]), folder, config)
    assert same(again.state, straight.state)


def test_other_validation_labels_are_not_taken_for_the_same_training(store, encoder, tmp_path):
    folder = TrainingFolder(tmp_path / "finetuning")
    config = with_recipe(epochs=1)
    run(data(store), encoder, folder=folder, config=config)
    before = folder.finished.stat().st_mtime_ns
    run(data(store), encoder, folder=folder, config=config)
    assert folder.finished.stat().st_mtime_ns == before
    validating = (table()["split"] == "val").to_numpy()
    changed = data(store, labels=np.where(validating, 1 - LABELS, LABELS))
    run(changed, encoder, folder=folder, config=config)
    assert folder.finished.stat().st_mtime_ns > before


def lesion_table():
    pathology = np.where(LABELS > 0, "MALIGNANT", "BENIGN")
    return pd.DataFrame({"lesion_id": NAMES, "patient_id": PATIENTS, "pathology": pathology})


@pytest.mark.parametrize("strategy", ["official", "cv"])
def test_what_the_pixels_know_is_learned_and_evaluated_once_per_lesion(tmp_path, encoder, strategy):
    store = striped_store(tmp_path / "crops", strength=1.5)
    recipe = {"epochs": 12, "drop_path": 0.0}
    checkpoint, _ = run(data(store, strategy), encoder, config=with_recipe(**recipe))
    checkpoint.save(tmp_path / "finetuned.safetensors")
    found = assess_finetuned(
        type(checkpoint).load(tmp_path / "finetuned.safetensors"),
        store,
        lesion_table(),
        table(strategy).sample(frac=1, random_state=0),
        PROBE,
    )
    evaluated = table(strategy).query("split == 'test' or strategy == 'cv'")["lesion_id"]
    assert sorted(found.predictions["lesion_id"]) == sorted(evaluated)
    assert set(found.predictions["protocol"]) == {"finetuned"}
    task = found.metrics["tasks"]["pathology"]
    assert task["metrics"]["auc"]["estimate"] > 0.9
    assert task["metrics"]["auc"]["lower"] <= task["metrics"]["auc"]["estimate"]
    assert len(task["training"]) == len(task["calibration"]["temperatures"])
    known = dict(zip(NAMES, LABELS, strict=True))
    labels = found.predictions["lesion_id"].map(known)
    assert (found.predictions["label"] == labels).all()


def test_a_tracker_hears_fold_after_fold(store, encoder):
    with logged_losses() as reported:
        _, history = run(data(store, "cv"), encoder, config=with_recipe(epochs=1))
    assert history["fold"].nunique() == 3
    assert reported == history["step"].tolist() == sorted(set(reported))


def test_a_model_refuses_to_evaluate_under_other_splits(store, encoder):
    checkpoint, _ = run(data(store), encoder, config=with_recipe(epochs=1))
    other = table().assign(split=np.roll(table()["split"], 2))
    with pytest.raises(MiramError, match="other splits"):
        assess_finetuned(checkpoint, store, lesion_table(), other, PROBE)


def test_the_order_of_the_lesions_does_not_matter(store, encoder):
    config = with_recipe(epochs=1)
    order = np.random.default_rng(0).permutation(COUNT)
    lesions = data(store)
    mixed = replace(lesions, table=lesions.table.iloc[order], labels=LABELS[order])
    first, second = (run(each, encoder, config=config)[0] for each in (lesions, mixed))
    assert same(first.state, second.state)


def test_each_fold_starts_from_the_encoder_that_has_not_seen_its_labels(store):
    config = with_recipe(
        epochs=1, optimizer=OptimizerConfig(base_lr=1e-12, weight_decay=0, warmup_epochs=0)
    )
    own = {f"fold{i}": start(seed=i) for i in range(3)}
    checkpoint, _ = run(data(store, "cv"), join_folds(own), config=config)
    for fold, model in split_models(checkpoint).items():
        name = "blocks.0.attn.qkv.weight"
        torch.testing.assert_close(
            model.encoder.state_dict()[name], own[fold].state[name], atol=1e-6, rtol=0
        )
    with pytest.raises(MiramError, match="the splits are newer"):
        run(data(store), join_folds(own), config=config)


def test_validation_is_cut_by_patient_and_shows_every_class():
    random = np.random.default_rng(1)
    for labels in (LABELS, (random.random((COUNT, 3)) < 0.3).astype(np.int64)):
        train, validate = cut_by_patient(labels, PATIENTS, 0.25, seed=0)
        assert not set(PATIENTS[train]) & set(PATIENTS[validate])
        assert sorted([*train, *validate]) == list(range(COUNT))
        assert 0.1 < len(validate) / COUNT < 0.45
        hot = labels if labels.ndim == 2 else labels[:, None] == np.arange(2)
        assert hot[validate].any(axis=0).all()
    for fold, side in finetuning_splits(table("cv"), LABELS, 0.25, 0).items():
        outside = np.flatnonzero(table("cv")["split"] != fold)
        assert sorted([*side.train, *side.validate]) == outside.tolist()


def test_a_validation_part_of_one_class_is_cut_anew_without_the_patients_to_be_evaluated():
    lesions = table()
    alike = np.where(lesions["split"] == "val", 1, LABELS)
    (side,) = finetuning_splits(lesions, alike, 0.25, 0).values()
    assert side.cut
    assert side.classes_shown(alike) == 2
    assert not set(PATIENTS[side.train]) & set(PATIENTS[side.validate])
    known = np.flatnonzero(lesions["split"] != "test")
    assert sorted([*side.train, *side.validate]) == known.tolist()
    (own,) = finetuning_splits(lesions, LABELS, 0.25, 0).values()
    assert not own.cut
    assert set(lesions["split"].iloc[own.validate]) == {"val"}


def test_several_labels_per_lesion_train(store, encoder):
    labels = np.column_stack([LABELS, np.roll(LABELS, 2), np.roll(LABELS, 4)])
    checkpoint, history = run(data(store, labels=labels), encoder, config=with_recipe(epochs=1))
    model = split_models(checkpoint)[""]
    scores = classify(model, store.crops, np.arange(4))
    assert scores.shape == (4, 3)
    assert not np.allclose(scores.sum(axis=1), 1)
    assert np.isfinite(history["loss"]).all()


def test_a_saved_model_answers_as_it_did_and_its_encoder_loads_alone(store, encoder, tmp_path):
    metrics = Scripted([0.5])
    checkpoint, _ = run(data(store), encoder, metrics, config=with_recipe(epochs=1))
    checkpoint.save(tmp_path / "finetuned.safetensors")
    loaded = type(checkpoint).load(tmp_path / "finetuned.safetensors")
    rows = np.flatnonzero((table()["split"] == "val").to_numpy())
    found = classify(split_models(loaded)[""], store.crops, rows)
    np.testing.assert_allclose(found, metrics.scores[-1], atol=1e-6)
    assert loaded.encoder().build().num_features == 32
    assert loaded.metadata["training"]["optimizer"]["layer_decay"] == 0.8
    with pytest.raises(MiramError, match="holds no fine-tuned model"):
        split_models(replace(loaded, metadata={"timm": loaded.metadata["timm"]}))


def test_a_frozen_encoder_stays_as_it_is_and_its_head_learns(store, encoder):
    config = with_recipe(frozen=True, pooling="attentive")
    checkpoint, _ = run(data(store), encoder, config=config)
    [model] = split_models(checkpoint).values()
    before = encoder.state
    for name, value in model.encoder.state_dict().items():
        assert torch.equal(value, before[name]), name
    fresh = FineTuned(start(), "attentive", torch.ones(2), several=False).head.queries
    assert not torch.equal(model.head.queries, fresh)
    assert checkpoint.metadata[ABOUT]["frozen"] is True


def test_what_cannot_work_is_reported_before_training(store, encoder):
    with pytest.raises(MiramError, match=r"lower finetuning\.recipes\.own\.batch_size \(500\)"):
        run(data(store), encoder, config=with_recipe(batch_size=500))
    alike = data(store, labels=np.where(table()["split"] == "test", LABELS, 1))
    with pytest.raises(MiramError, match="no epoch can be chosen"):
        run(alike, encoder)
    with pytest.raises(MiramError, match="there is no recipe 'mine': choose among own"):
        FinetuningConfig.model_validate(CONFIG.model_dump() | {"recipe": "mine"})


def test_arguments_travel_to_a_worker(store, encoder):
    for sent in (ClassifierMetrics("binary", 0), CONFIG):
        assert pickle.loads(pickle.dumps(sent)) == sent
    assert same(pickle.loads(pickle.dumps(encoder)).state, encoder.state)
    lesions = pickle.loads(pickle.dumps(data(store)))
    np.testing.assert_array_equal(lesions.rows, data(store).rows)


@pytest.mark.parametrize("several", [False, True])
def test_a_step_that_was_not_finite_is_taken_again_by_the_command(
    store, encoder, tmp_path, several
):
    labels = np.column_stack([LABELS, np.roll(LABELS, 2)]) if several else LABELS
    rates = OptimizerConfig(base_lr=1e30, warmup_epochs=0)
    with pytest.raises(MiramError, match="miram replay"):
        config, folder = with_recipe(optimizer=rates), TrainingFolder(tmp_path)
        run(data(store, labels=labels), encoder, folder=folder, config=config)
    (folder,) = tmp_path.glob("nonfinite-step-*")
    result = CliRunner().invoke(app, ["replay", str(folder)])
    assert result.exit_code == 1, result.output
    assert "first at: " in result.output
