"""Halo attention: blocks of queries, keys from the block and a halo around it, O(N·(b+2h)²·D).

Vaswani et al., "Scaling Local Self-Attention for Parameter Efficient Visual Backbones" (HaloNet),
CVPR 2021, arXiv 2103.12731. The grid is cut into b x b blocks; the queries of a block share its
(b + 2h) x (b + 2h) keys:

    softmax(q k_haloᵀ / √D) v_halo,

without those beyond the grid. Blocks divide the grid as evenly as can be, so b may be less than
asked for. What was left out: HaloNet's learned relative positions, as tokens carry their own here,
and its strided blocks. The prefix tokens, which HaloNet lacks, attend to all tokens and are keys
and values of every block.
"""

import functools
from typing import Literal

from pydantic import Field
from torch import Tensor

from miram.models.attention.base import AttentionConfig, MultiHeadAttention, TokenGrid
from miram.models.attention.windows.base import block_attention, even_window, surroundings, within


def halo_attention(
    q: Tensor, k: Tensor, v: Tensor, grid: TokenGrid, *, window: int, halo: int
) -> Tensor:
    """Exact attention of each block to itself and its halo: (B, H, N, D) -> (B, H, N, D)."""
    block = even_window(grid.size, window)
    context = block[0] + 2 * min(halo, grid.size[0]), block[1] + 2 * min(halo, grid.size[1])
    return block_attention(
        q,
        k,
        v,
        grid,
        block,
        functools.partial(surroundings, grid_size=grid.size, window=block, context=context),
        within(grid.size, block, context, q.device),
    )


class HaloAttention(MultiHeadAttention):
    """Halo attention for a fixed grid of tokens."""

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """See :func:`halo_attention`."""
        return halo_attention(q, k, v, self.grid, window=self.config.window, halo=self.config.halo)


class HaloConfig(AttentionConfig):
    """Size of the blocks and of the halo around each."""

    module = HaloAttention

    kind: Literal["halo"] = "halo"
    window: int = Field(8, ge=1, le=64, description="tokens b per side of a block, at most")
    halo: int = Field(3, ge=0, le=64, description="tokens h around a block that it reads")
