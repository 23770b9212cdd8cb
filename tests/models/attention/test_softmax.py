"""Softmax attention is timm's."""

from typing import Any

import pytest
import torch
from attention_checks import DIM, HEADS, SIDE, heads, tokens
from timm.layers import Attention as TimmAttention
from torch import nn

from miram.models.attention import SoftmaxConfig, math_attention, softmax_attention


@pytest.mark.parametrize("fused", [True, False])
def test_equals_timm_attention(fused: bool) -> None:
    torch.manual_seed(0)
    arguments: dict[str, Any] = {
        "num_heads": HEADS,
        "qkv_bias": True,
        "qk_norm": True,
        "scale_norm": True,
        "norm_layer": nn.LayerNorm,
    }
    timm = TimmAttention(DIM, **arguments)
    timm.fused_attn = fused  # type: ignore[misc]
    ours = SoftmaxConfig().layer(1, (SIDE, SIDE))(DIM, **arguments)
    ours.load_state_dict(timm.state_dict(), strict=True)
    torch.testing.assert_close(ours(tokens()), timm(tokens()), rtol=0, atol=1e-6)


# Written out, in single precision, fused: see `softmax_attention`.
@pytest.mark.parametrize("keys", [33, 129, 600])
@pytest.mark.parametrize("bias", [None, "additive", "seen"])
@pytest.mark.parametrize("autocast", [False, True])
def test_half_precision_on_a_cpu_equals_the_formula_for_few_and_many_keys(
    keys: int, bias: str | None, autocast: bool
) -> None:
    q, k, v = (x.bfloat16().requires_grad_() for x in heads(2, 3, keys, 8))
    drawn = torch.randn(1, 3, 1, keys, generator=torch.Generator().manual_seed(1)).bfloat16()
    given = {None: None, "additive": drawn, "seen": drawn > 0}[bias]
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        found = softmax_attention(q, k, v, given)
    assert found.dtype == torch.bfloat16
    wide = given.double() if bias == "additive" else given
    expected = math_attention(*(x.double() for x in (q, k, v)), wide)
    tolerance = 4 * torch.finfo(torch.bfloat16).eps
    torch.testing.assert_close(found.double(), expected, rtol=tolerance, atol=tolerance)
    slopes = torch.autograd.grad(found.double().sum(), (q, k, v))
    for slope, wanted in zip(slopes, torch.autograd.grad(expected.sum(), (q, k, v)), strict=True):
        torch.testing.assert_close(slope, wanted, rtol=0.05, atol=0.05)
