import pytest
import torch
from torch import nn

from miram.models.encoder import EncoderConfig
from miram.training.optimizer import OptimizerConfig, learning_rate_factor, make_optimizer


def test_warm_up_rises_and_half_a_cosine_falls_to_zero():
    factors = [learning_rate_factor(step, 10, 100) for step in range(101)]
    assert factors[:11] == sorted(factors[:11])
    assert factors[10] == 1.0
    assert factors[10:] == sorted(factors[10:], reverse=True)
    assert factors[55] == pytest.approx(0.5)
    assert factors[100] == pytest.approx(0.0, abs=1e-12)
    assert learning_rate_factor(0, 0, 10) == 1.0  # without warm-up


def test_only_matrices_are_decayed():
    vit = EncoderConfig(
        name="vit_tiny_patch16_224", image_size=32, patch_size=8, overrides={"depth": 1}
    ).build(seed=0)
    optimizer = make_optimizer(vit, OptimizerConfig(weight_decay=0.05), 256)
    decayed, free = optimizer.param_groups
    names = {id(parameter): name for name, parameter in vit.named_parameters()}
    assert decayed["weight_decay"] == 0.05
    assert free["weight_decay"] == 0.0
    assert all(names[id(p)].endswith("weight") and p.ndim > 1 for p in decayed["params"])
    assert {"cls_token", "norm.weight", "patch_embed.proj.bias"} <= {
        names[id(p)] for p in free["params"]
    }
    found = sum(p.numel() for group in optimizer.param_groups for p in group["params"])
    assert found == sum(p.numel() for p in vit.parameters() if p.requires_grad)


def test_the_rate_grows_with_the_effective_batch():
    for batch, rate in ((256, 1e-3), (1024, 4e-3)):
        optimizer = make_optimizer(nn.Linear(2, 2), OptimizerConfig(base_lr=1e-3), batch)
        assert optimizer.param_groups[0]["lr"] == pytest.approx(rate)


def test_fused_steps_move_the_weights():
    model = nn.Linear(3, 3)
    before = model.weight.detach().clone()
    optimizer = make_optimizer(model, OptimizerConfig(), 256)
    model(torch.ones(2, 3)).sum().backward()
    optimizer.step()
    assert not torch.equal(model.weight, before)


def rates(model, **changes):
    """Learning rate and decay of every weight by its name."""
    config = OptimizerConfig(base_lr=1e-3, weight_decay=0.05, **changes)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    groups = make_optimizer(model, config, 256).param_groups
    found = [
        (names[id(p)], group["lr"], group["weight_decay"])
        for group in groups
        for p in group["params"]
    ]
    assert sorted(name for name, *_ in found) == sorted(names.values())
    return {name: (lr, decay) for name, lr, decay in found}


def classifier():
    config = EncoderConfig(
        name="vit_tiny_patch16_224", image_size=32, patch_size=8, overrides={"depth": 3}
    )
    encoder = config.build(seed=0).requires_grad_(True)
    return nn.ModuleDict({"encoder": encoder, "head": nn.Linear(192, 2)})


def test_layer_decay_lowers_the_rate_from_block_to_block_towards_the_input():
    found = rates(classifier(), layer_decay=0.5)
    powers = {
        "head.weight": 0,
        "head.bias": 0,
        "encoder.norm.weight": 1,
        "encoder.blocks.2.mlp.fc1.weight": 1,
        "encoder.blocks.1.attn.qkv.bias": 2,
        "encoder.blocks.0.norm1.weight": 3,
        "encoder.patch_embed.proj.weight": 4,
        "encoder.cls_token": 4,
        "encoder.pos_embed": 4,
    }
    for name, power in powers.items():
        assert found[name][0] == pytest.approx(1e-3 * 0.5**power), name


def test_layer_decay_decays_the_weights_that_are_decayed_without_it():
    layered, plain = rates(classifier(), layer_decay=0.5), rates(classifier())
    assert {name: decay for name, (_, decay) in layered.items()} == {
        name: decay for name, (_, decay) in plain.items()
    }


def test_adam_takes_its_weight_decay_as_a_penalty_on_the_loss():
    steps = {}
    for kind in ("adam", "adamw"):
        torch.manual_seed(0)
        model = nn.Linear(3, 3)
        before = model.weight.detach().clone()
        config = OptimizerConfig(kind=kind, base_lr=1e-3, weight_decay=0.5, beta2=0.999)
        optimizer = make_optimizer(model, config, 256)
        model.weight.grad, model.bias.grad = torch.zeros(3, 3), torch.zeros(3)
        optimizer.step()
        steps[kind] = (before - model.weight) / before
    # Without a gradient of the loss AdamW shrinks in proportion; Adam takes a step of its rate.
    torch.testing.assert_close(steps["adamw"], torch.full((3, 3), 5e-4), rtol=1e-2, atol=0)
    torch.manual_seed(0)
    weight = nn.Linear(3, 3).weight.detach()
    torch.testing.assert_close(steps["adam"] * weight, 1e-3 * weight.sign(), rtol=1e-3, atol=0)
