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
from torch import Tensor

from miram.errors import MiramError
from miram.models.attention.base import TokenGrid
from miram.models.attention.windows.base import (
    AxisAttention,
    AxisConfig,
    Size,
    axis_attention,
)


def long_short_attention(
    q: Tensor, k: Tensor, v: Tensor, grid: TokenGrid, *, window: Size
) -> Tensor:
    """Block attention on the first half of the heads, grid attention on the others.

    q, k, v (B, H, N, D) -> (B, H, N, D); the window's rows and columns must divide the grid.
    """
    near, far = zip(*(x.tensor_split(2, dim=1) for x in (q, k, v)), strict=True)
    return torch.cat(
        [
            axis_attention(*near, grid=grid, axis="block", window=window),
            axis_attention(*far, grid=grid, axis="grid", window=window),
        ],
        1,
    )


class LongShortAttention(AxisAttention):
    """Long and short distance attention for a fixed grid of tokens."""

    def __init__(
        self, dim: int, num_heads: int = 8, *, config: "LongShortConfig", **block: Any
    ) -> None:
        super().__init__(dim, num_heads, config=config, **block)
        if num_heads < 2:
            raise MiramError("long_short needs 2 heads, near and far: raise heads from 1")

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """See :func:`long_short_attention`."""
        return long_short_attention(q, k, v, self.grid, window=self.window)


class LongShortConfig(AxisConfig):
    """Size of the groups in which tokens attend to each other."""

    module = LongShortAttention

    kind: Literal["long_short"] = "long_short"
