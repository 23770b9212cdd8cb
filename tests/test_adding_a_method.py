"""An attention, a decoder and a method are added by their own file and one registry line each."""

import importlib.util
import sys

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
from miram.models.method_kinds import METHOD_KINDS
from miram.models.methods import METHODS, Method
from miram.pipelines.pretrain.pipeline import create_pipeline
from miram.reporting.styles import method_style
from miram.training.config import TrainingConfig
from miram.training.loop import train

ADDED = '''
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from miram.models.attention.base import AttentionConfig, MultiHeadAttention
from miram.models.decoders.base import Decoder, DecoderConfig
from miram.models.method_config import MethodConfig


class MeanConfig(AttentionConfig):
    kind: Literal["mean"] = "mean"

    def module(self):
        return MeanAttention


class MeanAttention(MultiHeadAttention):
    def attend(self, q, k, v):
        return (q * k).sum(-1, keepdim=True).sigmoid() * v.mean(2, keepdim=True)


class FlatDecoderConfig(DecoderConfig):
    kind: Literal["flat"] = "flat"

    def build(self, sizes):
        return FlatDecoder(self, sizes)


class FlatDecoder(Decoder):
    def decode(self, encoded, chosen):
        return encoded.grid().flatten(1, 2) + self.positions[:, 1:]


class MeanPixelConfig(MethodConfig):
    kind: Literal["mean_pixel"] = "mean_pixel"

    def build(self, encoder, seed):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return MeanPixel(encoder.build(seed))


@dataclass
class Output:
    loss: Tensor
    losses: dict[str, Tensor]


class MeanPixel(nn.Module):
    """Predicts the mean grey level of a crop."""

    def __init__(self, encoder):
        super().__init__()
        self.encoder = encoder
        self.head = nn.Linear(encoder.embed_dim, 1)

    def forward(self, images):
        told = self.head(self.encoder.forward_features(images).mean(dim=1)).squeeze(1)
        return Output((told - images.mean(dim=(1, 2, 3))).square().mean(), {})
'''
MASKED = {"kind": "masked_autoencoder", "decoder_dim": 16}
TRAINING = {
    "epochs": 2,
    "batch_size": 4,
    "log_every": 1,
    "optimizer": {"base_lr": 1e-3, "warmup_epochs": 0, "weight_decay": 0.05},
    "augmentation": {"min_area": 0.5},
    "device": "cpu",
}


@pytest.fixture
def added(tmp_path, monkeypatch):
    """The registries with the members of a module outside the package."""
    path = tmp_path / "added.py"
    path.write_text(ADDED)
    spec = importlib.util.spec_from_file_location("added", path)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "added", module)
    spec.loader.exec_module(module)
    monkeypatch.setitem(ATTENTIONS, "mean", module.MeanConfig)
    monkeypatch.setitem(DECODERS, "flat", module.FlatDecoderConfig)
    monkeypatch.setitem(METHOD_KINDS, "mean_pixel", module.MeanPixelConfig)
    return module


@pytest.mark.parametrize(
    "block",
    [
        {**MASKED, "decoders": [{"scale": 1, "attention": {"kind": "mean"}, "heads": 2}]},
        {**MASKED, "decoders": [{"scale": 1, "kind": "flat"}]},
        {"kind": "mean_pixel"},
    ],
    ids=["attention", "decoder", "method"],
)
def test_what_is_added_is_configured_described_trained_and_saved(added, block, tmp_path):
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


def test_a_method_by_name_has_pipelines_and_a_style(added, monkeypatch):
    mine = Method("mine", "Mine", "#123456", "Learns the grey", "mean_pixel")
    monkeypatch.setitem(METHODS, "mine", mine)
    assert method_style("mine") == mine
    assert "mine" in {node.namespace for node in create_pipeline().nodes}


def test_a_kind_is_taken_once_and_an_unknown_one_is_told_with_those_there_are(added):
    registry = Registry("attention", added.MeanConfig)
    registry.add(added.MeanConfig)

    class Other(added.MeanConfig):
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
