"""Affine-scaled attention is softmax at first, and may give more or less than an average."""

import torch
from attention_checks import HEADS, exact, heads, make

from miram.models.attention import AffineConfig, affine_attention


def test_a_scale_of_one_without_shift_gives_softmax() -> None:
    q, k, v = heads(2, 3, 9, 4)
    out = affine_attention(q, k, v, torch.ones(()), torch.zeros(()))
    torch.testing.assert_close(out, exact(q, k, v))


def test_equals_its_formula() -> None:
    q, k, v = heads(2, 3, 9, 4)
    alpha, beta, _ = heads(2, 3, 9, 1, seed=1)
    weights = alpha * (q @ k.mT / 2).softmax(-1) + beta / 9
    torch.testing.assert_close(affine_attention(q, k, v, alpha, beta), weights @ v)


def test_a_fresh_layer_is_softmax_and_a_trained_one_scales_by_its_queries() -> None:
    layer = make(AffineConfig()).double()
    q, k, v = heads(2, HEADS, 17, 8)
    torch.testing.assert_close(layer.attend(q, k, v), exact(q, k, v))
    with torch.no_grad():
        layer.slope.normal_(generator=torch.Generator().manual_seed(0))
        layer.start[:, :, 1] = 0.5
    alpha = 1 + (q * layer.slope[:, :, 0][:, None]).sum(-1, keepdim=True)
    beta = 0.5 + (q * layer.slope[:, :, 1][:, None]).sum(-1, keepdim=True)
    expected = alpha * exact(q, k, v) + beta * v.mean(2, keepdim=True)
    torch.testing.assert_close(layer.attend(q, k, v), expected)
