"""Multi-axis attention of MaxViT: within blocks, then along a dilated grid, O(N·w²).

Tu et al., "MaxViT: Multi-Axis Vision Transformer", ECCV 2022, arXiv 2204.01697. Block attention
mixes the tokens of every w x w window; grid attention mixes w x w tokens spread evenly over the
whole image, one of each stride. After both, every token has seen every other if the side of the
grid is at most w² (49 with windows of 7), and a regular sample of them on larger grids.

What differs from MaxViT: there, the two are layers of their own, with projections, an MLP and
a convolution in between and a learned relative position bias. Here they share one ``qkv`` to fit
into one ViT block, A_grid · A_block · v, and positions come from the tokens' own embedding. The
prefix tokens, which MaxViT lacks, attend to all tokens and are keys and values of every group.
"""

import functools
from typing import Any, Literal

from pydantic import Field
from torch import Tensor

from miram.models.attention.base import AttentionConfig, GridSize, MultiHeadAttention
from miram.models.attention.windows import axis_attention, fit_window


class MultiAxisConfig(AttentionConfig):
    """Size of the groups in which tokens attend to each other."""

    kind: Literal["multi_axis"] = "multi_axis"
    window: int = Field(7, ge=2, le=64, description="tokens per side of a group, at most")

    def module(self) -> "type[MultiAxisAttention]":
        """The class of the layers that these settings make."""
        return MultiAxisAttention


def multi_axis_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    window: tuple[int, int],
    num_prefix_tokens: int,
    grid_size: GridSize,
) -> Tensor:
    """Grid attention on the output of block attention; see :func:`axis_attention`."""
    along = functools.partial(
        axis_attention, window=window, num_prefix_tokens=num_prefix_tokens, grid_size=grid_size
    )
    return along(q, k, along(q, k, v, "block"), "grid")


class MultiAxisAttention(MultiHeadAttention):
    """Block and grid attention for a fixed grid of tokens.

    A side of the grid that ``window`` does not divide takes its largest divisor below it.
    """

    def __init__(
        self, dim: int, num_heads: int = 8, *, config: MultiAxisConfig, **block: Any
    ) -> None:
        super().__init__(dim, num_heads, config=config, **block)
        height, width = self.grid_size
        self.window = fit_window(height, config.window), fit_window(width, config.window)

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """See :func:`multi_axis_attention`."""
        return multi_axis_attention(
            q,
            k,
            v,
            window=self.window,
            num_prefix_tokens=self.num_prefix_tokens,
            grid_size=self.grid_size,
        )
