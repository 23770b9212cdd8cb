"""Exact softmax attention, the reference of the family.

Vaswani et al., "Attention Is All You Need", NeurIPS 2017, arXiv 1706.03762. PyTorch's fused kernel
(Dao et al., "FlashAttention", NeurIPS 2022) never keeps the N x N matrix: O(N²) time, O(N) memory.

On a CPU that kernel is slow in half precision while sequences are short: up to seven times slower
than the formula written out, measured in docs/decisions/022. There the way is chosen by the number
of keys, never by a measurement, so that a run can be repeated.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from miram.models.attention.base import AttentionConfig, MultiHeadAttention, no_autocast
from miram.models.attention.math import math_attention

_WRITTEN_OUT = 8  # keys per channel of a head up to which the matrix is small beside q
_SINGLE_PRECISION = 512  # keys up to which the kernel is faster in float32, casts included


def softmax_attention(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None) -> Tensor:
    """softmax(q kᵀ / √D + bias) v: q (B, H, N, D), k and v (B, H, M, D) -> (B, H, N, D).

    ``bias`` broadcasts to (B, H, N, M); of bool, it says which keys a query sees.
    """
    if q.device.type != "cpu" or q.dtype not in (torch.bfloat16, torch.float16):
        return F.scaled_dot_product_attention(q, k, v, bias)
    keys, width = k.shape[-2:]
    if keys <= _WRITTEN_OUT * width:
        return math_attention(q, k, v, bias)
    if keys > _SINGLE_PRECISION:
        return F.scaled_dot_product_attention(q, k, v, bias)
    if bias is not None and bias.dtype != torch.bool:
        bias = bias.float()
    with no_autocast(q):
        single = F.scaled_dot_product_attention(q.float(), k.float(), v.float(), bias)
    return single.to(q.dtype)


class SoftmaxAttention(MultiHeadAttention):
    """timm's ``Attention`` under the interface of the family; any number of tokens."""

    needs_grid = False

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Exact attention, see :func:`softmax_attention`."""
        return softmax_attention(q, k, v)


class SoftmaxConfig(AttentionConfig):
    """Exact attention has nothing to set."""

    module = SoftmaxAttention

    kind: Literal["softmax"] = "softmax"
