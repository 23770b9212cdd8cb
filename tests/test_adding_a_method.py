"""An attention, a decoder and a method are added by their own file and one registry line each."""

import added_parts
import numpy as np
import pytest
import torch
from tiny import ENCODER

from miram.configuration import Registry
from miram.errors import MiramError
from miram.models.attention import ATTENTIONS
from miram.models.checkpoints.files import PretrainedCheckpoint
from miram.models.decoders import DECODERS
from miram.models.describe import describe
from miram.models.methods import METHODS, Method
from miram.models.methods.kinds import METHOD_KINDS
from miram.pipelines.pretrain import create_pipeline
from miram.reporting.styles import method_style
from miram.training.config import TrainingConfig
from miram.training.loop import train

MASKED = {"kind": "masked_autoencoder", "decoder_dim": 16}
TRAINING = {
    "epochs": 2,
    "batch_size": 4,
    "log_every": 1,
    "optimizer": {"base_lr": 1e-3, "warmup_epochs": 0, "weight_decay": 0.05},
    "augmentation": {"min_area": 0.5},
    "device": "cpu",
}


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    monkeypatch.setitem(ATTENTIONS, "mean", added_parts.MeanConfig)
    monkeypatch.setitem(DECODERS, "flat", added_parts.FlatDecoderConfig)
    monkeypatch.setitem(METHOD_KINDS, "mean_pixel", added_parts.MeanPixelConfig)


@pytest.mark.parametrize(
    "block",
    [
        {**MASKED, "decoders": [{"scale": 1, "attention": {"kind": "mean"}, "heads": 2}]},
        {**MASKED, "decoders": [{"scale": 1, "kind": "flat"}]},
        {"kind": "mean_pixel"},
    ],
    ids=["attention", "decoder", "method"],
)
def test_what_is_added_is_configured_described_trained_and_saved(block, tmp_path):
    method = METHOD_KINDS.model_validate(block)
    assert METHOD_KINDS.model_validate(method.model_dump(mode="json")) == method
    assert sum(part.macs for part in describe(method, ENCODER)) > 0
    model = method.build(ENCODER, seed=0)
    crops = np.random.default_rng(0).integers(0, 65_535, (8, 16, 16), dtype=np.uint16)
    config = TrainingConfig.model_validate(TRAINING)
    history = train(model, crops, method.crop_size(ENCODER), config).history
    assert len(history) == 4 and np.isfinite(history["loss"]).all()
    header = {"timm": ENCODER.timm_arguments, "method": method.model_dump(mode="json")}
    PretrainedCheckpoint.of(model, header).save(tmp_path / "pretrained.safetensors")
    again = PretrainedCheckpoint.load(tmp_path / "pretrained.safetensors").build()
    assert torch.equal(again.encoder.cls_token, model.encoder.cls_token.cpu())


def test_a_method_by_name_has_pipelines_and_a_style(monkeypatch):
    mine = Method("mine", "Mine", "#123456", "Learns the grey", "mean_pixel")
    monkeypatch.setitem(METHODS, "mine", mine)
    assert method_style("mine") == mine
    assert "mine" in {node.namespace for node in create_pipeline().nodes}


def test_a_kind_is_taken_once_and_an_unknown_one_is_reported_with_those_there_are():
    registry = Registry("attention", added_parts.MeanConfig)
    registry.add(added_parts.MeanConfig)

    class Other(added_parts.MeanConfig):
        pass

    with pytest.raises(ValueError, match="already"):
        registry.add(Other)
    bad = {**MASKED, "decoders": [{"scale": 1, "attention": {"kind": "maen"}}]}
    with pytest.raises(
        MiramError,
        match=r"^decoders\.0\.attention: there is no attention 'maen': kind is one of softmax, .*"
        r"mean; did you mean mean\?$",
    ):
        METHOD_KINDS.model_validate(bad)
