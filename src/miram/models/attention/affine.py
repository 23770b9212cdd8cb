"""Affine-scaled attention: softmax whose rows need not sum to one, O(N²·D).

After Bae et al., "Affine-Scaled Attention: Towards Flexible and Stable Transformer Attention",
2026, arXiv 2602.23057. With a scale α and a shift β for every query and head,

    α · softmax(q kᵀ / √D) v + β · mean(v),

that is, attention weights α · softmax + β / N, by the fused kernel and one mean. A query that finds
nothing can say so, with α = 0, and one that looks for the whole can have it, with β = 1. Both are
affine in the query and start at 1 and 0, which is softmax attention. The paper's scale and bias are
made for causal language models, and depend on the input in their own way; that was left out.
"""

from typing import Any, Literal

from torch import Tensor, nn

from miram.models.attention.base import AttentionConfig, MultiHeadAttention
from miram.models.attention.softmax import softmax_attention


def affine_attention(q: Tensor, k: Tensor, v: Tensor, alpha: Tensor, beta: Tensor) -> Tensor:
    """α softmax(q kᵀ / √D) v + β mean(v).

    q (B, H, N, D), k and v (B, H, M, D), and α and β (B, H, N, 1) or what broadcasts to it
    -> (B, H, N, D).
    """
    return alpha * softmax_attention(q, k, v) + beta * v.mean(2, keepdim=True)


class AffineAttention(MultiHeadAttention):
    """Affine-scaled attention; any number of tokens."""

    needs_grid = False

    def __init__(self, dim: int, num_heads: int = 8, **block: Any) -> None:
        super().__init__(dim, num_heads, **block)
        weight = self.qkv.weight
        self.slope = nn.Parameter(weight.new_zeros(num_heads, self.head_dim, 2))
        start = weight.new_tensor([1.0, 0.0])  # α and β
        self.start = nn.Parameter(start.repeat(num_heads, 1, 1))

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """See :func:`affine_attention`."""
        alpha, beta = (q @ self.slope + self.start).to(v.dtype).split(1, dim=-1)  # (B, H, N, 1)
        return affine_attention(q, k, v, alpha, beta)


class AffineConfig(AttentionConfig):
    """Scale and shift are learned; there is nothing to set."""

    module = AffineAttention

    kind: Literal["affine"] = "affine"
