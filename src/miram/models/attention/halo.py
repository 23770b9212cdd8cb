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

from miram.models.attention.base import AttentionConfig, GridSize, MultiHeadAttention
from miram.models.attention.windows import block_attention, even_window, surroundings, within


class HaloConfig(AttentionConfig):
    """Size of the blocks and of the halo around each."""

    kind: Literal["halo"] = "halo"
    window: int = Field(8, ge=1, le=64, description="tokens b per side of a block, at most")
    halo: int = Field(3, ge=0, le=64, description="tokens h around a block that it reads")

    def module(self) -> "type[HaloAttention]":
        """The class of the layers that these settings make."""
        return HaloAttention


def halo_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    window: int,
    halo: int,
    num_prefix_tokens: int,
    grid_size: GridSize,
) -> Tensor:
    """Exact attention of each block to itself and its halo: (B, H, N, D) -> (B, H, N, D)."""
    block = even_window(grid_size, window)
    context = block[0] + 2 * min(halo, grid_size[0]), block[1] + 2 * min(halo, grid_size[1])
    return block_attention(
        q,
        k,
        v,
        functools.partial(surroundings, grid_size=grid_size, window=block, context=context),
        within(grid_size, block, context, q.device),
        window=block,
        num_prefix_tokens=num_prefix_tokens,
        grid_size=grid_size,
    )


class HaloAttention(MultiHeadAttention):
    """Halo attention for a fixed grid of tokens."""

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """See :func:`halo_attention`."""
        return halo_attention(
            q,
            k,
            v,
            window=self.config.window,
            halo=self.config.halo,
            num_prefix_tokens=self.num_prefix_tokens,
            grid_size=self.grid_size,
        )
