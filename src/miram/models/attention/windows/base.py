"""Tokens in windows of their grid: what attentions share that are exact within windows.

The T tokens of the grid, (B, H, T, D), become G windows of S tokens, (B, H, G, S, D), each with M
keys of its own. The prefix tokens attend to all tokens, and are keys and values of every window.
Sizes are (rows, columns). A window that reaches beyond the grid is filled with zeros, which
a mask hides where they are keys, and which are cut off where they are queries.
"""

import functools
import math
from collections.abc import Callable
from typing import Any, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from miram.errors import MiramError
from miram.models.attention.base import (
    AttentionConfig,
    GridSize,
    MultiHeadAttention,
    TokenGrid,
)
from miram.models.attention.softmax import softmax_attention

Axis = Literal["block", "grid"]
Size = tuple[int, int]


def even_window(grid_size: GridSize, window: int) -> Size:
    """Sides of at most ``window`` that cut each side of the grid as evenly as can be."""
    height, width = (math.ceil(side / math.ceil(side / window)) for side in grid_size)
    return height, width


def group(x: Tensor, axis: Axis, grid_size: GridSize, window: Size) -> Tensor:
    """Gather the grid tokens that attend to each other: (B, H, T, D) -> (B, H, G, S, D).

    G groups of S = window rows x window columns tokens: neighbors on the axis ``block``, where the
    last windows may reach beyond the grid; on the axis ``grid``, whose sides the window must
    divide, tokens h / rows and w / columns apart.
    """
    (height, width), (rows, cols) = grid_size, window
    x = x.unflatten(2, grid_size)  # (B, H, T, D) -> (B, H, h, w, D)
    if axis == "block":
        if height % rows or width % cols:
            x = F.pad(x, (0, 0, 0, -width % cols, 0, -height % rows))
        x = x.unflatten(3, (-1, cols)).unflatten(2, (-1, rows))  # -> (B, H, Gh, rows, Gw, cols, D)
        x = x.transpose(3, 4)  # -> (B, H, Gh, Gw, rows, cols, D)
    else:
        x = x.unflatten(3, (cols, -1)).unflatten(2, (rows, -1))  # -> (B, H, rows, Gh, cols, Gw, D)
        x = x.permute(0, 1, 3, 5, 2, 4, 6)
    return x.flatten(4, 5).flatten(2, 3)  # (B, H, Gh, Gw, rows, cols, D) -> (B, H, G, S, D)


def ungroup(x: Tensor, axis: Axis, grid_size: GridSize, window: Size) -> Tensor:
    """Undo :func:`group`: (B, H, G, S, D) -> (B, H, T, D)."""
    (height, width), (_, cols) = grid_size, window
    x = x.unflatten(3, window).unflatten(2, (-1, math.ceil(width / cols)))
    order = (0, 1, 2, 4, 3, 5, 6) if axis == "block" else (0, 1, 4, 2, 5, 3, 6)
    x = x.permute(order).flatten(4, 5).flatten(2, 3)  # -> (B, H, h, w, D), with what was filled in
    return x[:, :, :height, :width].flatten(2, 3)


def surroundings(x: Tensor, grid_size: GridSize, window: Size, context: Size) -> Tensor:
    """Gather each window with tokens around it: (B, H, T, D) -> (B, H, G, M, D).

    M = context rows x context columns tokens, with the window of the axis ``block`` in their
    middle. Where they reach beyond the grid they are zeros, see :func:`within`.
    """
    (height, width), (rows, cols), (tall, wide) = grid_size, window, context
    top, left = (tall - rows) // 2, (wide - cols) // 2
    bottom, right = -height % rows + tall - rows - top, -width % cols + wide - cols - left
    image = F.pad(x.unflatten(2, grid_size), (0, 0, left, right, top, bottom))
    image = image.unfold(2, tall, rows).unfold(3, wide, cols)  # (B, H, Gh, Gw, D, tall, wide)
    return image.movedim(4, -1).flatten(4, 5).flatten(2, 3)  # -> (B, H, G, M, D)


def rows_around(side: int, window: int, context: int, device: torch.device) -> Tensor:
    """Where the tokens of :func:`surroundings` lie along one side of the grid: (G, context)."""
    first = torch.arange(0, side, window, device=device) - (context - window) // 2
    return first[:, None] + torch.arange(context, device=device)


def both(rows: Tensor, columns: Tensor) -> Tensor:
    """Where rows and columns allow a key: (Gh, Sh, Mh) and (Gw, Sw, Mw) -> (G, S, M)."""
    allowed = rows[:, None, :, None, :, None] & columns[None, :, None, :, None, :]
    return allowed.flatten(4, 5).flatten(2, 3).flatten(0, 1)


def within(grid_size: GridSize, window: Size, context: Size, device: torch.device) -> Tensor:
    """Which tokens of :func:`surroundings` lie on the grid: (G, 1, M)."""
    seen = []
    for side, size, wide in zip(grid_size, window, context, strict=True):
        at = rows_around(side, size, wide, device)  # (G of this side, wide)
        seen.append(((at >= 0) & (at < side))[:, None])
    return both(*seen)


def window_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    grid: TokenGrid,
    *,
    cut: Callable[[Tensor], Tensor],
    join: Callable[[Tensor], Tensor],
    gather: Callable[[Tensor], Tensor],
    bias: Tensor | None = None,
) -> Tensor:
    """Exact attention of every window to its keys, and of the prefix tokens to all tokens.

    Args:
        q: (B, H, N, D), as k and v.
        k: Keys.
        v: Values.
        grid: Where the tokens lie.
        cut: From grid tokens (B, H, T, D) to the queries of each window (B, H, G, S, D).
        join: The way back.
        gather: From grid tokens to the keys of each window (B, H, G, M, D).
        bias: (G, 1 or S, M), which of these a query sees, or what is added to its logits; None
            where it sees all. It always sees the prefix.

    Returns:
        (B, H, N, D).
    """
    prefix = grid.prefix
    grid.require(q.shape[2])
    queries = cut(q[:, :, prefix:])  # (B, H, T, D) -> (B, H, G, S, D)
    keys, values = (
        with_prefix(x[:, :, :prefix], gather(x[:, :, prefix:])) for x in (k, v)
    )  # (B, H, G, P + M, D)
    if bias is not None:
        bias = F.pad(bias, (prefix, 0), value=1 if bias.dtype == torch.bool else 0)[None]
    # Windows take the place of heads: one bias does for all samples and heads, without a copy.
    queries, keys, values = (x.flatten(0, 1) for x in (queries, keys, values))
    out = softmax_attention(queries, keys, values, bias)
    out = join(out.unflatten(0, q.shape[:2]))  # (B, H, G, S, D) -> (B, H, T, D)
    return out if not prefix else torch.cat([softmax_attention(q[:, :, :prefix], k, v), out], 2)


def with_prefix(prefix: Tensor, groups: Tensor) -> Tensor:
    """Put the prefix (B, H, P, D) before every window (B, H, G, S, D) -> (B, H, G, P + S, D)."""
    return torch.cat([prefix[:, :, None].expand(-1, -1, groups.shape[2], -1, -1), groups], 3)


def block_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    grid: TokenGrid,
    window: Size,
    gather: Callable[[Tensor], Tensor],
    bias: Tensor,
) -> Tensor:
    """:func:`window_attention` with neighbors as the queries of a window."""
    sizes: dict[str, Any] = {"axis": "block", "grid_size": grid.size, "window": window}
    cut, join = functools.partial(group, **sizes), functools.partial(ungroup, **sizes)
    return window_attention(q, k, v, grid, cut=cut, join=join, gather=gather, bias=bias)


def axis_attention(
    q: Tensor, k: Tensor, v: Tensor, *, grid: TokenGrid, axis: Axis, window: Size
) -> Tensor:
    """Exact attention within every group of one axis, and of the prefix tokens to all tokens.

    q, k, v (B, H, N, D) -> (B, H, N, D). Groups of ``window`` rows and columns, which must divide
    the grid, are of neighbors on the axis ``block``, spread over the image on the axis ``grid``.
    """
    if grid.size[0] % window[0] or grid.size[1] % window[1]:
        raise MiramError(f"a window of {window} does not divide a grid of {grid.size}")
    sizes: dict[str, Any] = {"axis": axis, "grid_size": grid.size, "window": window}
    cut, join = functools.partial(group, **sizes), functools.partial(ungroup, **sizes)
    return window_attention(q, k, v, grid, cut=cut, join=join, gather=cut)


class AxisAttention(MultiHeadAttention):
    """What attends within groups of an axis, for a fixed grid of tokens.

    A side of the grid that ``window`` does not divide takes its largest divisor below it.
    """

    def __init__(self, dim: int, num_heads: int = 8, *, config: "AxisConfig", **block: Any) -> None:
        super().__init__(dim, num_heads, config=config, **block)
        height, width = self.grid.size
        self.window = fit_window(height, config.window), fit_window(width, config.window)


class AxisConfig(AttentionConfig):
    """Size of the groups in which tokens attend to each other."""

    window: int = Field(7, ge=2, le=64, description="tokens per side of a group, at most")


def fit_window(side: int, window: int) -> int:
    """Largest divisor of a side of the grid that is at most ``window``; 1 is refused."""
    fitted = max(n for n in range(1, min(side, window) + 1) if side % n == 0)
    if fitted == 1 and side > 1:
        raise MiramError(
            f"no window of 2 to {window} tokens divides a grid side of {side}: choose another "
            "image or patch size, or a larger window"
        )
    return fitted
