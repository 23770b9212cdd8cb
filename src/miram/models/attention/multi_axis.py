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

import torch
from pydantic import Field
from torch import Tensor

from miram.errors import MiramError
from miram.models.attention.base import (
    AttentionConfig,
    GridSize,
    MultiHeadAttention,
    require_grid,
)
from miram.models.attention.softmax import softmax_attention

Axis = Literal["block", "grid"]


class MultiAxisConfig(AttentionConfig):
    """Size of the groups in which tokens attend to each other."""

    kind: Literal["multi_axis"] = "multi_axis"
    window: int = Field(7, ge=2, le=64, description="tokens per side of a group, at most")

    def module(self) -> "type[MultiAxisAttention]":
        """The class of the layers that these settings make."""
        return MultiAxisAttention


def group(x: Tensor, axis: Axis, grid_size: GridSize, window: tuple[int, int]) -> Tensor:
    """Gather the grid tokens that attend to each other: (B, H, T, D) -> (B, G, H, S, D).

    G groups of S = window rows x window columns tokens: neighbors on the axis ``block``, tokens
    h / rows and w / columns apart on the axis ``grid``.
    """
    (height, width), (rows, cols) = grid_size, window
    if axis == "block":
        x = x.unflatten(2, (height // rows, rows, width // cols, cols))
        x = x.permute(0, 2, 4, 1, 3, 5, 6)  # (B, H, Gh, rows, Gw, cols, D) -> (B, Gh, Gw, H, ...)
    else:
        x = x.unflatten(2, (rows, height // rows, cols, width // cols))
        x = x.permute(0, 3, 5, 1, 2, 4, 6)  # (B, H, rows, Gh, cols, Gw, D) -> (B, Gh, Gw, H, ...)
    return x.flatten(4, 5).flatten(1, 2)  # (B, Gh, Gw, H, rows, cols, D) -> (B, G, H, S, D)


def ungroup(x: Tensor, axis: Axis, grid_size: GridSize, window: tuple[int, int]) -> Tensor:
    """Undo :func:`group`: (B, G, H, S, D) -> (B, H, T, D)."""
    (height, width), (rows, cols) = grid_size, window
    x = x.unflatten(1, (height // rows, width // cols)).unflatten(4, (rows, cols))
    order = (0, 3, 1, 4, 2, 5, 6) if axis == "block" else (0, 3, 4, 1, 5, 2, 6)
    return x.permute(order).flatten(2, 5)  # (B, Gh, Gw, H, rows, cols, D) -> (B, H, T, D)


def axis_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    axis: Axis,
    *,
    window: tuple[int, int],
    num_prefix_tokens: int,
    grid_size: GridSize,
) -> Tensor:
    """Exact attention within every group of one axis, and of the prefix tokens to all tokens.

    q, k, v (B, H, N, D) -> (B, H, N, D). Groups of ``window`` rows and columns, which must divide
    the grid, are of neighbors on the axis ``block``, spread over the image on the axis ``grid``.
    """
    require_grid(q.shape[2], num_prefix_tokens, grid_size)
    if grid_size[0] % window[0] or grid_size[1] % window[1]:
        raise MiramError(f"a window of {window} does not divide a grid of {grid_size}")
    parts = [num_prefix_tokens, q.shape[2] - num_prefix_tokens]
    prefix_q, grid_q = q.split(parts, 2)  # (B, H, N, D) -> (B, H, P, D), (B, H, T, D)
    prefix_k, grid_k = k.split(parts, 2)
    prefix_v, grid_v = v.split(parts, 2)

    queries = group(grid_q, axis, grid_size, window)  # (B, G, H, S, D)
    keys = with_prefix(prefix_k, group(grid_k, axis, grid_size, window))
    values = with_prefix(prefix_v, group(grid_v, axis, grid_size, window))
    out = softmax_attention(queries.flatten(0, 1), keys.flatten(0, 1), values.flatten(0, 1))
    out = ungroup(out.unflatten(0, queries.shape[:2]), axis, grid_size, window)  # -> (B, H, T, D)
    if not num_prefix_tokens:
        return out
    return torch.cat([softmax_attention(prefix_q, k, v), out], 2)


def with_prefix(prefix: Tensor, groups: Tensor) -> Tensor:
    """Put the prefix (B, H, P, D) before every group (B, G, H, S, D) -> (B, G, H, P + S, D)."""
    prefix = prefix[:, None].expand(-1, groups.shape[1], -1, -1, -1)
    return torch.cat([prefix, groups], 3)


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


def fit_window(side: int, window: int) -> int:
    """Largest divisor of a side of the grid that is at most ``window``; 1 is refused."""
    fitted = max(n for n in range(1, min(side, window) + 1) if side % n == 0)
    if fitted == 1 and side > 1:
        raise MiramError(
            f"no window of 2 to {window} tokens divides a grid side of {side}: choose another "
            "image or patch size, or a larger window"
        )
    return fitted


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
