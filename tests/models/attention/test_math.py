"""Materialized softmax is softmax, and keeps its matrix."""

import pytest
import torch
from attention_checks import heads, make, tokens
from model_checks import saved_bytes

from miram.models.attention import MathConfig, math_attention, softmax_attention


def test_equals_softmax() -> None:
    q, k, v = heads(2, 3, 9, 4, scale=3.0)
    torch.testing.assert_close(math_attention(q, k, v), softmax_attention(q, k, v))


@pytest.mark.parametrize("seen", [False, True])
def test_adds_a_bias_or_leaves_keys_out_as_softmax_does(seen: bool) -> None:
    q, k, v = heads(2, 3, 9, 4)
    drawn = torch.randn(3, 1, 9, generator=torch.Generator().manual_seed(1)).double()
    bias = drawn > -1 if seen else drawn
    torch.testing.assert_close(math_attention(q, k, v, bias), softmax_attention(q, k, v, bias))


def test_keeps_the_matrix_for_the_backward_pass() -> None:
    def kept(side: int) -> int:
        layer, x = make(MathConfig(), side=side, heads=2), tokens(side=side, batch=1)
        return saved_bytes(layer, lambda: layer(x))[0]

    matrices = 4 * 2 * (785**2 - 197**2)  # float32, two heads
    assert kept(28) - kept(14) > matrices
