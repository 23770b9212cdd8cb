"""Softmax attention by its formula, the N x N matrix written out: O(N²·D) time, O(N²) memory.

Vaswani et al., "Attention Is All You Need", NeurIPS 2017, arXiv 1706.03762. It gives the numbers
of ``softmax`` and keeps the matrix for the backward pass, as code from before fused kernels did.
That is the baseline which papers on linear attention, MIRAM's among them, measure memory against.
"""

from typing import Literal

import torch
from torch import Tensor

from miram.models.attention.base import AttentionConfig, MultiHeadAttention


def math_attention(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None) -> Tensor:
    """softmax(q kᵀ / √D + bias) v: q (B, H, N, D), k and v (B, H, M, D) -> (B, H, N, D).

    ``bias`` broadcasts to (B, H, N, M); of bool, it says which keys a query sees.
    """
    scores = (q * q.shape[-1] ** -0.5) @ k.mT  # (B, H, N, M); q first, or float16 overflows
    if bias is not None and bias.dtype == torch.bool:
        scores = scores.masked_fill(~bias, -torch.inf)
    elif bias is not None:
        scores = scores + bias
    return scores.softmax(-1).to(v.dtype) @ v


class MathAttention(MultiHeadAttention):
    """Materialized softmax attention; any number of tokens."""

    needs_grid = False

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """See :func:`math_attention`."""
        return math_attention(q, k, v)


class MathConfig(AttentionConfig):
    """The formula has nothing to set."""

    module = MathAttention

    kind: Literal["math"] = "math"
