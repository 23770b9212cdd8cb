"""Tokens on their 2-D grid: the prefix tokens (CLS, registers), then h·w patches row by row.

Letters: B batch, H heads, N tokens (prefix included), T = h·w grid tokens, D width of a head.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from miram.errors import MiramError

GridSize = tuple[int, int]


def require_grid(num_tokens: int, num_prefix_tokens: int, grid_size: GridSize) -> None:
    """Check that a sequence is the prefix followed by the whole grid.

    Raises:
        MiramError: if ``num_tokens != num_prefix_tokens + h * w``.
    """
    height, width = grid_size
    if num_tokens != num_prefix_tokens + height * width:
        raise MiramError(
            f"{num_tokens} tokens are not {num_prefix_tokens} prefix tokens and a grid of "
            f"{height} x {width}: give the attention the grid_size and num_prefix_tokens of its "
            "input, and all tokens of the grid (this attention cannot run on visible tokens only)"
        )


def to_image(x: Tensor, num_prefix_tokens: int, grid_size: GridSize) -> Tensor:
    """Lay the grid tokens of all heads out as an image: (B, H, N, D) -> (B, H*D, h, w)."""
    require_grid(x.shape[2], num_prefix_tokens, grid_size)
    x = x[:, :, num_prefix_tokens:].transpose(2, 3)  # (B, H, N, D) -> (B, H, D, T)
    return x.flatten(1, 2).unflatten(2, grid_size)  # -> (B, H*D, h, w)


def from_image(image: Tensor, num_prefix_tokens: int, num_heads: int) -> Tensor:
    """Undo :func:`to_image`, (B, H*D, h, w) -> (B, H, N, D); the prefix tokens are zeros."""
    x = image.flatten(2).unflatten(1, (num_heads, -1))  # (B, H*D, h, w) -> (B, H, D, T)
    return F.pad(x.transpose(2, 3), (0, 0, num_prefix_tokens, 0))  # -> (B, H, N, D)


def no_autocast(x: Tensor) -> torch.autocast:
    """Context in which autocast is off on the device of ``x``, be it a CPU or a GPU."""
    return torch.autocast(x.device.type, enabled=False)


def at_least_float32(x: Tensor) -> Tensor:
    """Cast half precision to float32; leave float32 and float64 as they are."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
