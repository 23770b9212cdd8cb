import pytest
import torch
from torch import nn

from miram.models.encoder import EncoderConfig
from miram.training.schedule import OptimizerConfig, learning_rate_factor, make_optimizer


def test_warm_up_rises_and_half_a_cosine_falls_to_zero():
    factors = [learning_rate_factor(step, 10, 100) for step in range(101)]
    assert factors[:11] == sorted(factors[:11])
    assert factors[10] == 1.0
    assert factors[10:] == sorted(factors[10:], reverse=True)
    assert factors[55] == pytest.approx(0.5)
    assert factors[100] == pytest.approx(0.0, abs=1e-12)


def test_without_warm_up_the_first_step_has_the_full_rate():
    assert learning_rate_factor(0, 0, 10) == 1.0


def test_only_matrices_are_decayed():
    vit = EncoderConfig(
        name="vit_tiny_patch16_224", image_side=32, patch_side=8, overrides={"depth": 1}
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
    model = nn.Linear(2, 2)
    small, large = (
        make_optimizer(model, OptimizerConfig(base_lr=1e-3), batch).param_groups[0]["lr"]
        for batch in (256, 1024)
    )
    assert small == pytest.approx(1e-3)
    assert large == pytest.approx(4e-3)


def test_fused_steps_move_the_weights():
    model = nn.Linear(3, 3)
    before = model.weight.detach().clone()
    optimizer = make_optimizer(model, OptimizerConfig(), 256)
    model(torch.ones(2, 3)).sum().backward()
    optimizer.step()
    assert not torch.equal(model.weight, before)
