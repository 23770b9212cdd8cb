"""Materialized softmax is softmax, and keeps its matrix."""

import torch
from attention_checks import heads, make, tokens
from model_checks import saved_bytes

from miram.models.attention import MathConfig, math_attention, softmax_attention


def test_equals_softmax() -> None:
    q, k, v = heads(2, 3, 9, 4, scale=3.0)
    torch.testing.assert_close(math_attention(q, k, v), softmax_attention(q, k, v))


def test_keeps_the_matrix_for_the_backward_pass() -> None:
    def kept(side: int) -> int:
        layer, x = make(MathConfig(), side=side, heads=2), tokens(side=side, batch=1)
        return saved_bytes(layer, lambda: layer(x))[0]

    matrices = 4 * 2 * (785**2 - 197**2)  # float32, two heads
    assert kept(28) - kept(14) > matrices
