"""Lookup attention: m pooled tokens gather the values, all tokens look them up, O(N·m·D).

Koner et al., "LookupViT: Compressing Visual Information to a Limited Number of Tokens", ECCV 2024,
arXiv 2407.12753. With pooled tokens p, means of the queries over blocks of the grid,

    softmax(q pᵀ / √D) softmax(p kᵀ / √D) v,

two exact attentions with m tokens on one side. What differs from LookupViT: there the compressed
tokens are a stream of their own, with projections, self-attention and an MLP, kept from block to
block. Here they are made anew from the queries and live within one layer, so that both attentions
share one ``qkv``. Prefix tokens are queries and keys like all others, but enter no pooled token.
"""

from typing import Any, Literal

from pydantic import Field
from torch import Tensor

from miram.models.attention.base import AttentionConfig, MultiHeadAttention
from miram.models.attention.nystrom import block_shape, grid_landmarks
from miram.models.attention.softmax import softmax_attention


def lookup_attention(q: Tensor, k: Tensor, v: Tensor, p: Tensor) -> Tensor:
    """softmax(q pᵀ / √D) softmax(p kᵀ / √D) v, without either matrix.

    q (B, H, N, D), k and v (B, H, M, D) and pooled tokens p (B, H, m, D) -> (B, H, N, D).
    """
    return softmax_attention(q, p, softmax_attention(p, k, v))


class LookupAttention(MultiHeadAttention):
    """Lookup attention for a fixed grid; an axis shorter than its blocks gives one per token."""

    def __init__(
        self, dim: int, num_heads: int = 8, *, config: "LookupConfig", **block: Any
    ) -> None:
        super().__init__(dim, num_heads, config=config, **block)
        self.blocks = block_shape(config.length, self.grid.size)

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Pool the queries of the grid; see :func:`lookup_attention`."""
        p = grid_landmarks(q[:, :, self.grid.prefix :], self.blocks, self.grid.size)
        return lookup_attention(q, k, v, p)


class LookupConfig(AttentionConfig):
    """How many tokens the grid is pooled to."""

    module = LookupAttention

    kind: Literal["lookup"] = "lookup"
    length: int = Field(49, ge=1, description="pooled tokens m; a square number for a square grid")
