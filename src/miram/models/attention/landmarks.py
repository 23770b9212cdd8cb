"""Landmarks: means of runs of tokens, along the sequence or in blocks of the 2-D grid."""

import math

import torch
from torch import Tensor

from miram.errors import MiramError
from miram.models.attention.grid import GridSize


def segment_means(x: Tensor, segments: int, dim: int) -> Tensor:
    """Means of consecutive segments of an axis that differ in length by one at most.

    Nothing is padded: every element counts once and every segment has an element. The first
    ``length % segments`` segments are the longer ones.

    Args:
        x: any shape.
        segments: number of segments, at most the length of the axis.
        dim: axis to cut, 0 or above.

    Returns:
        Shape of ``x`` with ``segments`` in place of the length of the axis.

    Raises:
        MiramError: if there are more segments than elements.
    """
    length = x.shape[dim]
    if segments > length:
        raise MiramError(f"{segments} landmarks for {length} tokens: ask for {length} or fewer")
    short, longer = divmod(length, segments)  # `longer` segments have short + 1 elements
    cut = longer * (short + 1)
    tail = x.narrow(dim, cut, length - cut).unflatten(dim, (-1, short)).mean(dim + 1)
    if not longer:
        return tail
    head = x.narrow(dim, 0, cut).unflatten(dim, (longer, short + 1)).mean(dim + 1)
    return torch.cat([head, tail], dim)


def sequence_landmarks(x: Tensor, landmarks: int) -> Tensor:
    """Means of runs of grid tokens in reading order: (B, H, T, D) -> (B, H, m, D)."""
    return segment_means(x, landmarks, 2)


def grid_landmarks(x: Tensor, shape: tuple[int, int], grid_size: GridSize) -> Tensor:
    """Means of blocks of the grid.

    Args:
        x: grid tokens, (B, H, T, D) with T = h * w.
        shape: rows and columns of blocks.
        grid_size: (h, w).

    Returns:
        (B, H, rows * columns, D).
    """
    image = x.unflatten(2, grid_size)  # (B, H, T, D) -> (B, H, h, w, D)
    return segment_means(segment_means(image, shape[0], 2), shape[1], 3).flatten(2, 3)


def block_shape(landmarks: int, grid_size: GridSize) -> tuple[int, int]:
    """Rows and columns of ``landmarks`` blocks, as square as whole numbers allow.

    An axis of the grid that is shorter than asked for gives one block per token. Take a square
    number for a square grid; a prime number gives strips.
    """
    height, width = grid_size
    factors = [n for n in range(1, landmarks + 1) if landmarks % n == 0]
    rows = min(factors, key=lambda n: abs(math.log((height / n) / (width / (landmarks // n)))))
    return min(rows, height), min(landmarks // rows, width)
