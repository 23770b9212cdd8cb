"""Long and short distance attention: half of the heads near, half far, O(N·w²·D).

Wang et al., "CrossFormer: A Versatile Vision Transformer Hinging on Cross-scale Attention", ICLR
2022, arXiv 2108.00154. The first heads attend within w x w blocks of neighbors (short distance),
the others within groups of w x w tokens spread evenly over the grid (long distance):

    softmax(q k_groupᵀ / √D) v_group.

What differs from CrossFormer: there, layers of the two kinds alternate; here a layer has both, on
its halves of the heads, and is half as dear as ``multi_axis``, which has both on all of them. Its
dynamic position bias and its cross-scale embedding are no part of this file. The prefix tokens,
which CrossFormer lacks, attend to all tokens and are keys and values of every group.
"""

from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from miram.errors import MiramError
from miram.models.attention.base import AttentionConfig, GridSize, MultiHeadAttention
from miram.models.attention.windows import Axis, Size, axis_attention, fit_window


class LongShortConfig(AttentionConfig):
    """Size of the groups in which tokens attend to each other."""

    kind: Literal["long_short"] = "long_short"
    window: int = Field(7, ge=2, le=64, description="tokens per side of a group, at most")

    def module(self) -> "type[LongShortAttention]":
        """The class of the layers that these settings make."""
        return LongShortAttention


def long_short_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    window: Size,
    num_prefix_tokens: int,
    grid_size: GridSize,
) -> Tensor:
    """Block attention on the first half of the heads, grid attention on the others.

    q, k, v (B, H, N, D) -> (B, H, N, D); the window's rows and columns must divide the grid.
    """
    axes: tuple[Axis, Axis] = ("block", "grid")
    halves = zip(*(x.tensor_split(2, dim=1) for x in (q, k, v)), axes, strict=True)
    found = (
        axis_attention(
            *half, window=window, num_prefix_tokens=num_prefix_tokens, grid_size=grid_size
        )
        for half in halves
    )
    return torch.cat(list(found), 1)


class LongShortAttention(MultiHeadAttention):
    """Long and short distance attention for a fixed grid of tokens.

    A side of the grid that ``window`` does not divide takes its largest divisor below it.
    """

    def __init__(
        self, dim: int, num_heads: int = 8, *, config: LongShortConfig, **block: Any
    ) -> None:
        super().__init__(dim, num_heads, config=config, **block)
        if num_heads < 2:
            raise MiramError("long_short needs 2 heads, near and far: raise heads from 1")
        height, width = self.grid_size
        self.window = fit_window(height, config.window), fit_window(width, config.window)

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """See :func:`long_short_attention`."""
        return long_short_attention(
            q,
            k,
            v,
            window=self.window,
            num_prefix_tokens=self.num_prefix_tokens,
            grid_size=self.grid_size,
        )
