"""Dilated neighborhood attention: every query has k x k keys of its own, O(N·k²·D).

Hassani et al., "Neighborhood Attention Transformer", CVPR 2023, arXiv 2204.07143; Hassani and Shi,
"Dilated Neighborhood Attention Transformer", 2022, arXiv 2209.15001. A query reads the k x k tokens
around it; at an edge of the grid these are the first or last k, so that there are always k x k.
With dilation d it does so among the tokens whose row and column leave the same remainder by d,
which makes its reach d times as wide:

    softmax(q k_nearᵀ / √D) v_near.

The papers have a kernel for it, NATTEN. Here tiles of at most k x k queries share the keys that any
of them has, and a mask gives each its own, so that a layer takes up to (2k - 1)² / k², about four,
times as many multiplications. What differs otherwise: dilations are assigned to groups of heads
instead of to layers; there are no relative position biases; the prefix tokens, which the papers
lack, attend to all tokens and are keys and values of every query.
"""

from collections.abc import Callable
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from miram.errors import MiramError
from miram.models.attention.base import AttentionConfig, MultiHeadAttention, TokenGrid
from miram.models.attention.windows.base import (
    both,
    even_window,
    group,
    rows_around,
    surroundings,
    ungroup,
    window_attention,
)


def neighborhood_attention(
    q: Tensor, k: Tensor, v: Tensor, grid: TokenGrid, *, kernel: int, dilations: tuple[int, ...]
) -> Tensor:
    """Exact attention of each token to kernel x kernel neighbors; a dilation per group of heads.

    q, k, v (B, H, N, D) -> (B, H, N, D). Dilations must divide the sides of the grid.
    """
    parts = (x.tensor_split(len(dilations), dim=1) for x in (q, k, v))
    found = [
        dilated_attention(*heads, grid=grid, kernel=kernel, dilation=dilation)
        for *heads, dilation in zip(*parts, dilations, strict=True)
    ]
    return torch.cat(found, 1)


def dilated_attention(
    q: Tensor, k: Tensor, v: Tensor, *, grid: TokenGrid, kernel: int, dilation: int
) -> Tensor:
    """Tiles of queries with the keys of all, within the tokens of each pair of remainders."""
    coarse = grid.size[0] // dilation, grid.size[1] // dilation  # the tokens of one pair
    tile = even_window(coarse, kernel)
    sides = [near(*sizes, kernel, q.device) for sizes in zip(coarse, tile, strict=True)]
    context = sides[0].shape[2], sides[1].shape[2]
    apart: dict[str, Any] = {"axis": "grid", "grid_size": grid.size, "window": coarse}

    def in_each(cut: Callable[..., Tensor], x: Tensor, *sizes: Any) -> Tensor:
        x = group(x, **apart)  # (B, H, T, D) -> (B, H, d*d, T/d/d, D)
        return cut(x.flatten(1, 2), *sizes).unflatten(1, x.shape[1:3]).flatten(2, 3)

    def join(x: Tensor) -> Tensor:
        x = x.unflatten(2, (dilation**2, -1))  # (B, H, d*d*G, S, D) -> (B, H, d*d, G, S, D)
        image = ungroup(x.flatten(1, 2), "block", coarse, tile).unflatten(1, x.shape[1:3])
        return ungroup(image, **apart)  # (B, H, d*d, T/d/d, D) -> (B, H, T, D)

    return window_attention(
        q,
        k,
        v,
        grid,
        cut=lambda x: in_each(group, x, "block", coarse, tile),
        join=join,
        gather=lambda x: in_each(surroundings, x, coarse, tile, context),
        bias=both(*sides).repeat(dilation**2, 1, 1),
    )


def near(side: int, tile: int, kernel: int, device: torch.device) -> Tensor:
    """Which rows around a tile are neighbors of a row in it: (tiles, tile, context)."""
    kernel = min(kernel, side)
    in_last = (side - 1) % tile + 1  # a last tile that is short looks back further
    halo = max(kernel // 2, kernel - in_last)
    queries = rows_around(side, tile, tile, device)[:, :, None]
    keys = rows_around(side, tile, tile + 2 * halo, device)[:, None]
    first = (queries - kernel // 2).clamp(0, side - kernel)
    return (keys >= first) & (keys < first + kernel)


class NeighborhoodAttention(MultiHeadAttention):
    """Dilated neighborhood attention for a fixed grid of tokens."""

    def __init__(
        self, dim: int, num_heads: int = 8, *, config: "NeighborhoodConfig", **block: Any
    ) -> None:
        super().__init__(dim, num_heads, config=config, **block)
        dilations = config.dilations
        if num_heads < len(dilations):
            raise MiramError(
                f"{num_heads} heads cannot share {len(dilations)} neighborhood.dilations: "
                "take more heads or fewer dilations"
            )
        height, width = self.grid.size
        for dilation in dilations:
            if dilation < 1 or height % dilation or width % dilation:
                raise MiramError(
                    f"neighborhood.dilations: {dilation} does not divide the grid of {height} x "
                    f"{width}: take divisors of both sides, 1 for neighbors without gaps"
                )

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """See :func:`neighborhood_attention`."""
        return neighborhood_attention(
            q, k, v, self.grid, kernel=self.config.kernel, dilations=self.config.dilations
        )


class NeighborhoodConfig(AttentionConfig):
    """Size of the neighborhoods, and how far apart their tokens lie."""

    module = NeighborhoodAttention

    kind: Literal["neighborhood"] = "neighborhood"
    kernel: int = Field(7, ge=1, le=63, description="keys k per side of a neighborhood, at most")
    dilations: tuple[int, ...] = Field(
        (1, 2), min_length=1, description="one per group of heads, divisors of the grid's sides"
    )
