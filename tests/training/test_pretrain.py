import numpy as np
import pandas as pd
import pytest
import tiny
import torch
from tiny import make_store, stripes

from miram.models.checkpoints.files import load_checkpoint
from miram.models.checkpoints.split_record import split_record
from miram.models.encoder import EncoderConfig
from miram.models.fidelity import fidelity
from miram.models.methods.backbone import TimmBackboneConfig
from miram.models.methods.kinds import RandomConfig
from miram.models.methods.masked_autoencoder import MaskedAutoencoderConfig
from miram.models.methods.moco import MocoV3Config
from miram.models.pretrained_weights.load import InitializationConfig
from miram.training.checkpointing.folder import TrainingFolder
from miram.training.data.augmentation import AugmentationConfig
from miram.training.loop import train
from miram.training.optimizer import OptimizerConfig
from miram.training.pretrain import HISTORY, pretrain, reconstruct_examples

ENCODER = EncoderConfig(
    name="vit_tiny_patch16_224", image_size=16, patch_size=4, overrides={"depth": 1}
)
MOCO = MocoV3Config(hidden=64, width=32)
MAE = MaskedAutoencoderConfig(
    decoder_dim=32,
    decoders=({"scale": 2, "attention": {"kind": "softmax"}, "depth": 1, "heads": 2},),
)
TRAINING = tiny.TRAINING.model_copy(
    update={"epochs": 2, "log_every": 2, "augmentation": AugmentationConfig(min_area=0.6)}
)


CROPS = stripes(24, least=1)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return make_store(tmp_path_factory.mktemp("store") / "crops", CROPS)


def pretrained(store, method, training=TRAINING):
    result = pretrain(store, np.arange(24), ENCODER, method, training)
    return result.encoder, result.history, result.reconstructions


@pytest.mark.slow
def test_moco_learns_to_find_the_other_view():
    optimizer = OptimizerConfig(base_lr=3e-2, warmup_epochs=2)
    plain = AugmentationConfig(min_area=0.6, horizontal_flip=0)
    update = {"epochs": 25, "optimizer": optimizer, "augmentation": plain, "log_every": 5}
    model = MOCO.build(ENCODER, 0)
    history = train(model, CROPS, 16, TRAINING.model_copy(update=update)).history
    chance = 1 / TRAINING.batch_size
    assert history["contrast_accuracy"].iloc[0] < 2.5 * chance
    assert history["contrast_accuracy"].iloc[-1] > 4 * chance
    assert history["loss"].iloc[-1] < 0.6 * history["loss"].iloc[0]


def test_the_key_encoder_follows_in_training():
    model = MOCO.build(ENCODER, 0)
    fresh = model.key_projector[0].weight.clone()
    train(model, CROPS, 16, TRAINING)
    far = (model.projector[0].weight - fresh).norm()
    near = (model.key_projector[0].weight - fresh).norm()
    assert 0 < near < 0.1 * far


def test_the_header_records_the_splits_of_what_was_trained(store):
    splits = pd.DataFrame({"lesion_id": store.manifest["crop_id"], "split": "train"})
    splits = splits.assign(strategy="official", leakage="drop")
    short = TRAINING.model_copy(update={"epochs": 1})
    found = {
        method.kind: pretrain(store, np.arange(24), ENCODER, method, short, splits=splits)
        for method in (RandomConfig(), MOCO)
    }
    reported = found["moco_v3"].encoder.metadata["splits"]
    assert reported == split_record(splits, by_part=False)
    assert found["moco_v3"].pretrained.metadata["splits"] == reported
    assert "splits" not in found["random"].encoder.metadata


def test_training_repeats_itself_and_the_header_records_the_recipe_that_was_used(store):
    (checkpoint, history, shown), (again, _, _) = (pretrained(store, MOCO) for _ in range(2))
    assert all(torch.equal(again.state[name], value) for name, value in checkpoint.state.items())
    assert checkpoint.metadata["training"]["optimizer"]["weight_decay"] == 0.1
    assert checkpoint.metadata["training"]["augmentation"]["blur"] == 0.55
    assert checkpoint.metadata["training"]["augmentation"]["min_area"] == 0.6
    assert checkpoint.metadata["method"]["kind"] == "moco_v3"
    assert checkpoint.metadata["image_size"] == 16
    assert set(HISTORY) <= set(history.columns)
    assert shown == {}
    fresh = ENCODER.build(0).state_dict()
    frozen = "patch_embed.proj.weight"
    assert torch.equal(checkpoint.state[frozen], fresh[frozen])
    assert not torch.equal(checkpoint.state["norm.weight"], fresh["norm.weight"])


def test_the_header_of_a_training_that_is_taken_records_the_run_that_trained(store, tmp_path):
    def trained(**changes):
        training = TRAINING.model_copy(update=changes)
        folder = TrainingFolder(tmp_path / "training")
        return pretrain(store, np.arange(24), ENCODER, MAE, training, folder=folder).encoder

    first = trained()
    threads = torch.get_num_threads()
    torch.set_num_threads(threads + 1)
    try:
        again = trained(batch_size=4, effective_batch=8)
    finally:
        torch.set_num_threads(threads)
    assert first.metadata["training"]["batch_size"] == 8
    assert first.metadata["hardware"]["threads"] == threads
    assert again.metadata == first.metadata


def test_the_header_records_the_micro_batches_that_auto_stood_for(store):
    training = TRAINING.model_copy(update={"batch_size": "auto", "effective_batch": 8})
    found, _, _ = pretrained(store, MAE, training)
    assert found.metadata["training"]["batch_size"] == 8


def test_a_masked_autoencoder_shows_reconstructions(store):
    _, history, shown = pretrained(store, MAE)
    assert len(history)
    assert {name: value.shape for name, value in shown.items()} == {
        f"scale2_{part}": (6, 32, 32) for part in ("target", "masked", "prediction")
    }


def test_frozen_encoders_have_no_history(store):
    for method in (RandomConfig(), TimmBackboneConfig(name="resnet10t", image_size=32)):
        checkpoint, history, shown = pretrained(store, method)
        assert history.empty
        assert list(history.columns) == list(HISTORY)
        assert shown == {}
        assert checkpoint.metadata["method"]["kind"] == method.kind
    assert checkpoint.metadata["timm"]["model_name"] == "resnet10t"
    assert checkpoint.metadata["image_size"] == 32
    fresh, _, _ = pretrained(store, RandomConfig())
    assert all(torch.equal(v, fresh.state[k]) for k, v in ENCODER.build(0).state_dict().items())


def test_the_whole_method_is_saved_and_made_again(store, tmp_path):
    result = pretrain(store, np.arange(24), ENCODER, MAE, TRAINING)
    path = tmp_path / "pretrained.safetensors"
    result.pretrained.save(path)
    model = load_checkpoint(path).build()
    found = reconstruct_examples(model, store.crops[:6], store.masks[:6], 32, TRAINING.seed)
    first = result.reconstructions["scale2_prediction"][0]
    assert np.array_equal(found["scale2_prediction"][0], first)
    encoder = result.pretrained.encoder().state
    assert all(torch.equal(value, encoder[name]) for name, value in result.encoder.state.items())


def test_reconstructions_are_compared_with_their_targets_crop_by_crop(store):
    result = pretrain(store, np.arange(24), ENCODER, MAE, TRAINING)
    scores = result.fidelity
    assert scores["crop_id"].tolist() == [f"lesion{number}" for number in range(24)]
    assert set(scores["scale"]) == {2} and set(scores["part"]) == {"train"}
    model = result.pretrained.build()
    arrays = reconstruct_examples(model, store.crops, store.masks, 32, TRAINING.seed)
    expected = fidelity(arrays, 2, ENCODER.grid_side)
    np.testing.assert_allclose(scores[["psnr", "ssim"]], expected)


def test_crops_of_validation_patients_are_compared_where_there_are_some(tmp_path):
    store = make_store(tmp_path / "crops", CROPS, patients=[f"P{n // 2}" for n in range(24)])
    splits = pd.DataFrame(
        {
            "lesion_id": store.manifest["crop_id"],
            "patient_id": store.manifest["patient_id"],
            "split": ["val"] * 6 + ["train"] * 18,
            "strategy": "official",
            "leakage": "drop",
            "pretrain": [False] * 6 + [True] * 18,
        }
    )
    rows = np.arange(6, 24)
    scores = pretrain(store, rows, ENCODER, MAE, TRAINING, splits=splits).fidelity
    assert sorted(set(scores["patient_id"])) == ["P0", "P1", "P2"] and len(scores) == 6
    assert set(scores["part"]) == {"val"}


def test_training_starts_from_the_checkpoint_that_is_named(store, tmp_path):
    path = tmp_path / "encoder.safetensors"
    source, _, _ = pretrained(store, MAE)
    source.save(path)
    still = OptimizerConfig(base_lr=1e-12, weight_decay=0.0, warmup_epochs=0)
    named = InitializationConfig(checkpoint=str(path))
    other = {"epochs": 1, "seed": 5, "optimizer": still, "initialization": named}
    training = TRAINING.model_copy(update=other)
    found, _, _ = pretrained(store, MAE, training)
    for name, value in source.state.items():
        torch.testing.assert_close(found.state[name], value, atol=1e-6, rtol=0)
    assert found.metadata["initialization"]["source"] == "encoder.safetensors"
    assert not found.metadata["initialization"]["not_used"]
