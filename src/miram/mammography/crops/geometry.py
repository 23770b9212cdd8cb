"""Boxes and squares in pixel coordinates: where a lesion lies and what is cut around it."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

PaddingMode = Literal["shift", "zeros", "reflect"]


@dataclass(frozen=True)
class Box:
    """A half-open box in pixels: columns x0 to x1 - 1, rows y0 to y1 - 1."""

    x0: int
    y0: int
    x1: int
    y1: int

    @property
    def width(self) -> int:
        """Width in pixels."""
        return self.x1 - self.x0

    @property
    def height(self) -> int:
        """Height in pixels."""
        return self.y1 - self.y0

    def clipped(self, height: int, width: int) -> "Box | None":
        """The part inside an image of this size; None where there is none."""
        if not self.overlaps(Box(0, 0, width, height)):
            return None
        return Box(max(self.x0, 0), max(self.y0, 0), min(self.x1, width), min(self.y1, height))

    def moved(self, right: int, down: int) -> "Box":
        """The box in coordinates whose origin lies this far to the left and above."""
        return Box(self.x0 + right, self.y0 + down, self.x1 + right, self.y1 + down)

    def overlaps(self, other: "Box") -> bool:
        """Whether the two boxes share a pixel."""
        across = self.x0 < other.x1 and other.x0 < self.x1
        return across and self.y0 < other.y1 and other.y0 < self.y1


def square_around(box: Box, context: float) -> Box:
    """The square centered on a box, as large as its longer edge times `context`."""
    size = max(1, int(max(box.width, box.height) * context))
    x0 = (box.x0 + box.x1 - size) // 2
    y0 = (box.y0 + box.y1 - size) // 2
    return Box(x0, y0, x0 + size, y0 + size)


def shift_inside(square: Box, height: int, width: int) -> Box:
    """Move a square inside an image, as far as it fits.

    Along an axis where the square is longer than the image, it is centered on the image instead.
    """
    x0 = _shift(square.x0, square.width, width)
    y0 = _shift(square.y0, square.height, height)
    return Box(x0, y0, x0 + square.width, y0 + square.height)


def _shift(start: int, length: int, limit: int) -> int:
    if length > limit:
        return (limit - length) // 2
    return min(max(start, 0), limit - length)


def cut(image: NDArray, square: Box, padding: PaddingMode) -> tuple[NDArray, float]:
    """Cut a square that shares a pixel with an (H, W) image of any type, which it may leave.

    `reflect` mirrors pixels beyond the edge, otherwise they are zero; `shift` moved the square
    inside before, as far as it fits.

    Returns:
        The (s, s) piece and the share of its pixels that lie outside the image.
    """
    height, width = image.shape
    inner = image[
        max(square.y0, 0) : min(square.y1, height), max(square.x0, 0) : min(square.x1, width)
    ]
    if inner.shape == (square.height, square.width):
        return inner, 0.0
    outside = 1.0 - inner.size / (square.width * square.height)
    beyond = (
        (max(-square.y0, 0), max(square.y1 - height, 0)),
        (max(-square.x0, 0), max(square.x1 - width, 0)),
    )
    if padding == "reflect":
        return np.pad(inner, beyond, mode="symmetric"), outside
    return np.pad(inner, beyond), outside
