"""Performer's features are unbiased for the softmax kernel, and drawn by seed, place and step."""

import copy
import itertools
import math
from typing import Any

import pytest
import torch
from attention_checks import DIM, HEADS, SIDE, heads, make, tokens
from torch import Tensor

from miram.models.attention import PerformerConfig, performer_attention
from miram.models.attention.performer import log_features, orthogonal_features


def test_features_are_unbiased_for_the_softmax_kernel() -> None:
    q, k, _ = heads(1, 1, 6, 4, scale=0.5)
    kernel = (q @ k.mT / 2).exp()
    generator = torch.Generator().manual_seed(0)
    draws = []
    for _ in range(4000):
        w = orthogonal_features(8, 4, generator).double()
        log_q, log_k = log_features(q, w), log_features(k, w)
        draws.append(log_q.exp() @ log_k.exp().mT / 8)
    estimates = torch.stack(draws)
    standard_error = estimates.std(0) / math.sqrt(len(draws))
    error = (estimates.mean(0) - kernel).abs()
    assert (error < 5 * standard_error).all()
    assert (error < 0.05 * kernel).all()


def test_equals_its_formula_without_stabilizers() -> None:
    q, k, v = heads(2, 3, 9, 4)
    w = orthogonal_features(6, 4, torch.Generator().manual_seed(0)).double()
    kernel = log_features(q, w).exp() @ log_features(k, w).exp().mT
    expected = kernel @ v / kernel.sum(-1, keepdim=True)
    torch.testing.assert_close(performer_attention(q, k, v, w), expected)


def test_rows_are_orthogonal_and_as_long_as_normal_vectors() -> None:
    w = orthogonal_features(4000, 8, torch.Generator().manual_seed(0))
    block = w[:8] / w[:8].norm(dim=1, keepdim=True)
    torch.testing.assert_close(block @ block.T, torch.eye(8), rtol=0, atol=1e-5)
    assert w.square().sum(1).mean().item() == pytest.approx(8, rel=0.05)
    torch.testing.assert_close(w.T @ w / 4000, torch.eye(8), rtol=0, atol=0.1)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 30.0])
def test_large_inputs_stay_finite(scale: float) -> None:
    w = orthogonal_features(16, 8, torch.Generator().manual_seed(0))
    q, k, v = (x.float().requires_grad_() for x in heads(1, 2, 20, 8, scale=scale))
    out = performer_attention(q, k, v, w)
    out.sum().backward()
    assert out.isfinite().all()
    assert all(x.grad is not None and x.grad.isfinite().all() for x in (q, k, v))


def test_autocast_takes_nothing_from_its_precision() -> None:
    w = orthogonal_features(16, 8, torch.Generator().manual_seed(0))
    q, k, v = (x.float() for x in heads(1, 2, 20, 8))
    full = performer_attention(q, k, v, w)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(performer_attention(q, k, v, w), full)


def test_default_number_of_features_follows_the_head_width() -> None:
    assert make(PerformerConfig(), dim=64, heads=2).projection.shape == (110, 32)


def test_projection_changes_only_every_so_many_training_steps() -> None:
    layer, x = make(PerformerConfig(redraw_every=3)).train(), tokens()
    first, seen = layer.projection, []
    for step in range(7):
        layer.on_step(step, 7)
        layer(x), layer(x)  # a step may take several portions
        seen.append(layer.projection)
    assert all(torch.equal(w, first) for w in seen[:3])
    assert not torch.equal(seen[3], first)
    assert all(torch.equal(w, seen[3]) for w in seen[3:6])
    assert not torch.equal(seen[6], seen[3])


def test_resumed_run_draws_what_an_uninterrupted_one_does() -> None:
    config, x = PerformerConfig(redraw_every=2), tokens()
    whole, first = make(config).train(), make(config).train()
    for step in range(5):
        whole.on_step(step, 5)
    for step in range(3):
        first.on_step(step, 5)
    torch.manual_seed(99)
    resumed: Any = config.layer(1, (SIDE, SIDE))(DIM, num_heads=HEADS, qkv_bias=True)
    resumed.load_state_dict(first.state_dict())
    for step in range(3, 5):
        resumed.on_step(step, 5)
    assert torch.equal(resumed.projection, whole.projection)
    assert torch.equal(resumed(x), whole(x))


def test_draws_depend_on_the_seed_and_not_on_the_global_generator() -> None:
    one: Any = PerformerConfig().layer(1, (SIDE, SIDE))(DIM, num_heads=HEADS)
    torch.manual_seed(123)
    two: Any = PerformerConfig().layer(1, (SIDE, SIDE))(DIM, num_heads=HEADS)
    other: Any = PerformerConfig(seed=1).layer(1, (SIDE, SIDE))(DIM, num_heads=HEADS)
    assert torch.equal(one.projection, two.projection)
    assert not torch.equal(one.projection, other.projection)


def test_each_layer_of_a_decoder_draws_anew() -> None:
    def draws() -> list[Tensor]:
        layer = PerformerConfig().layer(1, (SIDE, SIDE))
        made: list[Any] = [layer(DIM, num_heads=HEADS) for _ in range(2)]
        first = [one.projection for one in made]
        for one in made:
            one.on_step(1000, 2000)
        return [*first, *(one.projection for one in made)]

    found = draws()
    assert all(not torch.equal(a, b) for a, b in itertools.combinations(found, 2))
    assert all(torch.equal(a, b) for a, b in zip(found, draws(), strict=True))


def test_activation_checkpointing_changes_no_gradient() -> None:
    x = tokens()
    plain = make(PerformerConfig(redraw_every=2)).train()
    checkpointed = copy.deepcopy(plain)
    for step in range(4):
        for layer in (plain, checkpointed):
            layer.zero_grad()
            layer.on_step(step, 4)
        plain(x).square().sum().backward()
        run = torch.utils.checkpoint.checkpoint(checkpointed, x, use_reentrant=False)
        run.square().sum().backward()
        torch.testing.assert_close(checkpointed.qkv.weight.grad, plain.qkv.weight.grad)


def test_redraw_leaves_earlier_graphs_usable() -> None:
    layer, x = make(PerformerConfig(redraw_every=1)).train(), tokens()
    before = layer(x)
    layer.on_step(1, 2)
    (before + layer(x)).sum().backward()
    assert layer.qkv.weight.grad.isfinite().all()
