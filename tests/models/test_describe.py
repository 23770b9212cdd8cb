"""Costs reported without running must be those of running."""

import pytest
import torch
from model_checks import saved_bytes
from tiny import VIT_TINY as SMALL

from miram.models.attention import ATTENTIONS
from miram.models.describe import describe, metered
from miram.models.encoder import EncoderConfig
from miram.models.methods.kinds import RandomConfig
from miram.models.methods.masked_autoencoder import MaskedAutoencoderConfig
from miram.models.methods.moco import MocoV3Config
from miram.models.methods.supervised import SupervisedConfig

PAPER = EncoderConfig(name="vit_base_patch16_224", image_size=224, patch_size=16)
LOW = {"scale": 1, "attention": {"kind": "softmax"}}


def paper(*decoders):
    return describe(MaskedAutoencoderConfig(decoders=decoders), PAPER)


def small(*decoders):
    decoders = [{"heads": 2, **decoder} for decoder in decoders]
    return MaskedAutoencoderConfig(decoders=decoders, decoder_dim=32)


def test_metrics_of_the_papers_model():
    high = {"scale": 2, "attention": {"kind": "softmax"}, "loss_on": "all"}
    encoder, low, high = paper(LOW, high)
    assert encoder.parameters / 1e6 == pytest.approx(85.6, abs=0.1)
    assert low.parameters / 1e6 == pytest.approx(25.2, abs=0.2)
    assert high.parameters == low.parameters
    assert encoder.macs / 1e9 == pytest.approx(4.3, abs=0.05)
    assert low.macs / 1e9 == pytest.approx(5.3, abs=0.05)
    assert high.macs / 1e9 == pytest.approx(24.8, abs=0.15)
    assert (encoder.tokens, low.tokens, high.tokens) == (50, 196, 784)


def test_linformer_as_the_authors_ran_it_has_22_million_parameters():
    attention = {"kind": "linformer", "length": 128, "one_kv_head": True, "share_kv": True}
    _, high = paper({"scale": 2, "attention": attention, "loss_on": "all"})
    assert high.parameters / 1e6 == pytest.approx(22.0, abs=0.3)


def test_multiplications_are_those_of_the_formula():
    encoder, decoder = paper({"scale": 1, "attention": {"kind": "softmax"}, "depth": 3})
    dim, tokens, patch = 512, 197, 256
    # qkv, proj, MLP; q kT and the product with v
    block = 12 * tokens * dim**2 + 2 * tokens**2 * dim
    assert decoder.macs == 3 * block + 196 * dim * patch
    wide, seen = 768, 50
    block = 12 * seen * wide**2 + 2 * seen**2 * wide
    assert encoder.macs == 12 * block + 49 * patch * wide + seen * wide * dim


def test_cross_attention_is_counted_by_queries_and_keys():
    _, decoder = paper({"scale": 2, "kind": "cross", "depth": 2, "loss_on": "all", "share": 0.25})
    dim, queries, seen = 512, 196, 50
    block = 10 * queries * dim**2 + 2 * seen * dim**2 + 2 * queries * seen * dim
    assert decoder.macs == 2 * block + queries * dim * 256
    assert decoder.tokens == queries


@pytest.mark.parametrize("kind", [*sorted(ATTENTIONS), "cross", "hierarchical"])
def test_parameters_are_those_of_the_real_model(kind):
    decoder = {"scale": 2, "attention": {"kind": kind}, "depth": 1}
    if kind == "linformer":
        decoder["attention"]["length"] = 8
    if kind == "cross":
        decoder = {"scale": 2, "kind": kind, "gradient_weight": 1.0}
    if kind == "hierarchical":
        decoder = {"scale": 2, "kind": kind, "encoder_levels": (2, 1)}
    config = small({**LOW, "depth": 1}, decoder)
    parts = describe(config, SMALL)
    model = config.build(SMALL, seed=0)
    trained = [weight.numel() for weight in model.parameters() if weight.requires_grad]
    assert sum(part.parameters for part in parts) == sum(trained)
    assert [part.name for part in parts] == [
        "encoder",
        "decoder, scale 1, softmax",
        f"decoder, scale 2, {kind}",
    ]
    assert all(part.macs > 0 and part.activation_bytes > 0 for part in parts)


@pytest.mark.parametrize("kind", ["softmax", "nystrom", "cross"])
def test_activation_memory_is_what_a_real_pass_keeps(kind):
    decoder = {"scale": 2, "attention": {"kind": kind}, "depth": 2, "loss_on": "all"}
    if kind == "cross":
        decoder = {"scale": 2, "kind": kind, "depth": 2, "loss_on": "all"}
    config = small(decoder)
    encoder, reported = describe(config, SMALL)
    model = config.build(SMALL, seed=0)
    views = model.pyramid(torch.randn(2, 1, 64, 64))
    masking = model.mask(torch.rand(2, 16))
    found, encoded = saved_bytes(model, lambda: model.encode(views[1], masking))
    assert encoder.activation_bytes == pytest.approx(found / 2, rel=0.02)
    found, _ = saved_bytes(model, lambda: model.decoders[0](encoded))
    assert reported.activation_bytes == pytest.approx(found / 2, rel=0.02)


@pytest.mark.parametrize("groups", [1, 4, 16])
@pytest.mark.parametrize("kind", [torch.nn.Conv2d, torch.nn.ConvTranspose2d])
def test_a_training_step_of_a_convolution_counts_three_times_its_forward_pass(kind, groups):
    layer = kind(16, 16, 3, padding=1, groups=groups, bias=False)
    x = torch.randn(2, 16, 8, 8, requires_grad=True)
    with metered(layer.parameters()) as meter:
        layer(x).sum().backward()
    forward = 2 * (2 * 8 * 8) * 16 * (16 // groups) * 3 * 3
    assert meter.flops == 3 * forward


def test_methods_without_decoders_have_their_encoder_and_all_else():
    (random,) = describe(RandomConfig(), SMALL)
    supervised = describe(SupervisedConfig(), SMALL)
    moco = describe(MocoV3Config(hidden=64, width=16), SMALL)
    assert random.tokens == 17
    assert [part.macs for part in supervised] == [random.macs, 192 * 2]
    assert [part.name for part in moco] == ["encoder", "all else"]
    # Beside one view of the encoder: its other view, and both views of the momentum encoder.
    assert moco[1].macs > 3 * random.macs
    assert moco[1].parameters == 192 * 64 + 64 * 64 + 64 * 16 + 16 * 64 + 64 * 16 + 2 * (3 * 64)


def test_describing_leaves_the_global_random_state_alone():
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    describe(small({**LOW, "depth": 1}), SMALL)
    assert torch.equal(torch.rand(1), expected)
