"""Exact softmax attention, the reference of the family.

Vaswani et al., "Attention Is All You Need", NeurIPS 2017, arXiv 1706.03762. PyTorch's fused kernel
(Dao et al., "FlashAttention", NeurIPS 2022) never keeps the N x N matrix: O(N²) time, O(N) memory.
"""

from typing import Literal

import torch.nn.functional as F
from torch import Tensor

from miram.models.attention.base import AttentionConfig, MultiHeadAttention


def softmax_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """softmax(q kᵀ / √D) v: q (B, H, N, D), k and v (B, H, M, D) -> (B, H, N, D)."""
    return F.scaled_dot_product_attention(q, k, v)


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
