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

from typing import Literal

from torch import Tensor

from miram.models.attention.base import TokenGrid
from miram.models.attention.windows.base import (
    AxisAttention,
    AxisConfig,
    Size,
    axis_attention,
)


def multi_axis_attention(
    q: Tensor, k: Tensor, v: Tensor, grid: TokenGrid, *, window: Size
) -> Tensor:
    """Grid attention on the output of block attention; see :func:`axis_attention`."""
    within_blocks = axis_attention(q, k, v, grid=grid, axis="block", window=window)
    return axis_attention(q, k, within_blocks, grid=grid, axis="grid", window=window)


class MultiAxisAttention(AxisAttention):
    """Block and grid attention for a fixed grid of tokens."""

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """See :func:`multi_axis_attention`."""
        return multi_axis_attention(q, k, v, self.grid, window=self.window)


class MultiAxisConfig(AxisConfig):
    """Size of the groups in which tokens attend to each other."""

    module = MultiAxisAttention

    kind: Literal["multi_axis"] = "multi_axis"
