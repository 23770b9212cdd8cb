"""Recomputed activations change what is kept, and nothing else."""

import copy
import logging
import pickle

import pytest
import timm
import torch
from timm.models.vision_transformer import Block

from miram.models.describe import kept_for_backward
from miram.models.encoder import EncoderConfig
from miram.models.methods.kinds import METHOD_KINDS
from miram.training.activation_checkpointing import BLOCKS, recompute_activations

ENCODER = EncoderConfig(
    name="vit_tiny_patch16_224",
    image_size=32,
    patch_size=8,
    overrides={
        "depth": 3,
        "embed_dim": 32,
        "num_heads": 2,
        "drop_path_rate": 0.4,
        "proj_drop_rate": 0.2,
    },
)
HIGH = {"scale": 2, "depth": 2, "heads": 2, "loss_on": "all"}
DECODERS = {
    "softmax": {**HIGH, "attention": {"kind": "softmax"}},
    "performer": {**HIGH, "attention": {"kind": "performer", "redraw_every": 1}},
    "nystrom": {**HIGH, "attention": {"kind": "nystrom", "num_landmarks": 8, "conv_kernel": 3}},
    "linformer": {**HIGH, "attention": {"kind": "linformer", "length": 8}},
    "cross": {**HIGH, "kind": "cross", "share": 0.5},
    "hierarchical": {"kind": "hierarchical", "scale": 1, "heads": 2, "encoder_levels": [3, 2, 1]},
}
METHODS = {
    name: {"kind": "masked_autoencoder", "decoder_dim": 32, "decoders": [decoder]}
    for name, decoder in DECODERS.items()
} | {
    "moco": {"kind": "moco_v3", "hidden": 32, "width": 8},
    "supervised": {"kind": "supervised"},
}
every_method = pytest.mark.parametrize("name", METHODS)


def build(name):
    method = METHOD_KINDS.model_validate(METHODS[name])
    if name == "supervised":
        return method.build_classifier(ENCODER, 0, torch.ones(2), several=False).train()
    return method.build(ENCODER, seed=0).train()


def batch(model, size=4):
    generator = torch.Generator().manual_seed(1)
    views = getattr(model, "views", 1)
    config = model.config
    side = config.crop_size(ENCODER)
    images = torch.randn(size, *([views] if views > 1 else []), 1, side, side, generator=generator)
    arguments = {"images": images}
    if width := getattr(model, "noise_width", 0):
        arguments["noise"] = torch.rand(size, width, generator=generator)
    if getattr(model, "needs_labels", False):
        arguments["labels"] = torch.arange(size) % 2
    return arguments


def steps(model, count=3):
    """Losses and gradients of a few steps, with all that happens between them."""
    found = []
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    for step in range(count):
        torch.manual_seed(step)
        for part in model.modules():
            if hasattr(part, "on_step"):
                part.on_step(step, count)
        optimizer.zero_grad()
        loss = model(**batch(model)).loss
        loss.backward()
        found.append(
            (loss.detach(), [p.grad.clone() for p in model.parameters() if p.grad is not None])
        )
        optimizer.step()
    return found


def kept_bytes(model):
    """What a forward pass keeps for the backward pass, without the weights."""
    with kept_for_backward(model.parameters()) as kept:
        output = model(**batch(model, 8))
        assert output.loss.requires_grad
        return kept()


def assert_same_steps(expected, found):
    assert expected and all(gradients for _, gradients in expected)
    for (loss, gradients), (loss_again, gradients_again) in zip(expected, found, strict=True):
        assert torch.equal(loss, loss_again)
        assert len(gradients) == len(gradients_again)
        assert all(map(torch.equal, gradients, gradients_again))


@every_method
def test_losses_gradients_and_buffers_are_the_same_bit_for_bit(name):
    plain, again = build(name), build(name)
    expected = steps(plain)
    with recompute_activations(again):
        found = steps(again)
    assert_same_steps(expected, found)
    for key, value in plain.state_dict().items():
        assert torch.equal(value, again.state_dict()[key]), key


def test_random_layers_are_at_work_in_these_tests():
    model = build("softmax")
    torch.manual_seed(0)
    first = model(**batch(model)).loss
    torch.manual_seed(1)
    assert model(**batch(model)).loss != first


def test_half_precision_gives_the_same_bit_for_bit():
    with torch.autocast("cpu", torch.bfloat16):
        expected = steps(build("nystrom"))
        model = build("nystrom")
        with recompute_activations(model):
            found = steps(model)
    assert_same_steps(expected, found)


@every_method
def test_less_is_kept(name):
    model = build(name)
    before = kept_bytes(model)
    with recompute_activations(model):
        within = kept_bytes(model)
    assert within < before / 2
    assert kept_bytes(model) == before


def test_every_block_of_the_model_is_reached():
    model = build("hierarchical")
    blocks = [part for part in model.modules() if type(part).__name__.endswith("Block")]
    assert len(blocks) == 3 + 2 + 2  # encoder, deepest level, the other levels
    with recompute_activations(model):
        assert all("forward" in vars(block) for block in blocks)


@every_method
def test_names_stay_and_the_model_is_as_before_afterwards_and_after_an_error(name):
    model = build(name)
    names, kinds = list(model.state_dict()), [type(part) for part in model.modules()]
    with pytest.raises(KeyError), recompute_activations(model):
        assert list(model.state_dict()) == names
        assert [type(part) for part in model.modules()] == kinds
        raise KeyError
    assert not any("forward" in vars(part) for part in model.modules())


@pytest.mark.parametrize("again", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_a_copy_is_independent_and_computes_the_same(again):
    model = build("performer")
    with recompute_activations(model):
        copied = again(model)
        (expected,), (found,) = steps(model, 1), steps(copied, 1)
        assert torch.equal(expected[0], found[0])
        for weight in copied.parameters():
            weight.data.zero_()
        torch.manual_seed(0)
        unharmed = model(**batch(model)).loss
    torch.manual_seed(0)
    assert torch.equal(model(**batch(model)).loss, unharmed)


def test_the_inner_of_two_nested_uses_leaves_the_outer_one_at_work():
    model = build("softmax")
    with recompute_activations(model):
        outer = kept_bytes(model)
        with recompute_activations(model):
            assert kept_bytes(model) == outer
        assert kept_bytes(model) == outer


def test_a_momentum_encoder_is_not_computed_twice():
    model, calls = build("moco"), []
    for encoder in (model.encoder, model.key_encoder):
        encoder.blocks[0].mlp.register_forward_pre_hook(lambda mlp, _: calls.append(mlp))
    with recompute_activations(model):
        model(**batch(model)).loss.backward()
    assert calls.count(model.encoder.blocks[0].mlp) == 2  # both views at once
    assert calls.count(model.key_encoder.blocks[0].mlp) == 1


def test_a_model_without_transformer_blocks_says_so(caplog):
    model = timm.create_model("resnet10t", num_classes=0, in_chans=1)
    with caplog.at_level(logging.WARNING), recompute_activations(model):
        assert not any("forward" in vars(part) for part in model.modules())
    assert "ResNet has no transformer blocks" in caplog.text


def test_all_kinds_of_blocks_of_timms_vision_transformers_are_known():
    vit = timm.models.vision_transformer
    kinds = {
        kind
        for name, kind in vars(vit).items()
        if isinstance(kind, type) and name.endswith("Block") and kind.__module__ == vit.__name__
    }
    assert Block in kinds
    assert kinds <= set(BLOCKS)
