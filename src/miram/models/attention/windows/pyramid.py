"""Pyramid attention: near tokens one by one, the rest as means of cells, O(N·(w² + m)·D).

After Amizadeh et al., "Hierarchical Self-Attention: Generalizing Neural Attention Mechanics to
Multi-Scale Problems", 2025, arXiv 2509.15448. The grid is cut into m cells of c x c tokens. A
window of n x n cells of queries reads its tokens and those of the cells that touch it one by one,
and of every other cell j its mean key and mean value, whose logit counts for all of its tokens:

    softmax([q k_nearᵀ / √D,  q k̄ᵀ / √D + log count_j]) [v_near, v̄].

This is softmax attention if the keys of a cell are alike, which is why the logarithm must be there.
Cells divide the grid as evenly as can be, so c may be less than asked for. Every window keeps its m
means for the backward pass, N·m / (n·c)² in all: small cells take more memory than they save. What
was left out: the paper's trees of any depth, here of two levels, and its derivation for several
modalities. The prefix tokens attend to all tokens and are keys and values of every window.
"""

import math
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from miram.models.attention.base import AttentionConfig, MultiHeadAttention, TokenGrid
from miram.models.attention.windows.base import (
    block_attention,
    both,
    even_window,
    surroundings,
    within,
)


def pyramid_attention(
    q: Tensor, k: Tensor, v: Tensor, grid: TokenGrid, *, cell: int, cells: int
) -> Tensor:
    """Exact attention to near tokens and to means of far cells: (B, H, N, D) -> (B, H, N, D)."""
    size = even_window(grid.size, cell)
    window = cells * size[0], cells * size[1]
    context = window[0] + 2 * size[0], window[1] + 2 * size[1]
    count = within(grid.size, size, size, q.device).sum((1, 2))  # (m,) tokens of each cell

    def gather(x: Tensor) -> Tensor:
        near = surroundings(x, grid.size, window, context)  # (B, H, G, M, D)
        means = surroundings(x, grid.size, size, size).sum(3) / count[:, None].to(x.dtype)
        return torch.cat([near, means[:, :, None].expand(-1, -1, near.shape[2], -1, -1)], 3)

    sides = zip(grid.size, size, strict=True)
    far = ~both(*(touching(side, length, cells, q.device) for side, length in sides))
    weight = torch.cat([within(grid.size, window, context, q.device), far * count], 2)
    # The weight of a key that a window has is 1 or the count, of others 0.
    return block_attention(q, k, v, grid, window, gather, weight.to(q.dtype).log())


def touching(side: int, cell: int, cells: int, device: torch.device) -> Tensor:
    """Which cells along a side are part of a window of cells or touch it: (windows, 1, cells)."""
    number = torch.arange(math.ceil(side / cell), device=device)
    first = number[::cells, None, None]  # of each window
    return (number >= first - 1) & (number <= first + cells)


class PyramidAttention(MultiHeadAttention):
    """Pyramid attention for a fixed grid of tokens."""

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """See :func:`pyramid_attention`."""
        return pyramid_attention(q, k, v, self.grid, cell=self.config.cell, cells=self.config.cells)


class PyramidConfig(AttentionConfig):
    """Size of the cells that far tokens are pooled to, and of the windows of queries."""

    module = PyramidAttention

    kind: Literal["pyramid"] = "pyramid"
    cell: int = Field(4, ge=1, le=64, description="tokens c per side of a cell, at most")
    cells: int = Field(2, ge=1, le=64, description="cells n per side of a window of queries")
