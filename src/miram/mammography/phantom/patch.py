"""A lesion drawn alone: what it adds to the tissue, and its mask."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class LesionPatch:
    """A square cut-out centered on a lesion.

    Attributes:
        added: Brightness added to the tissue, shape (side, side), float32, full range 1.
        mask: True inside the lesion, shape (side, side).
    """

    added: np.ndarray
    mask: np.ndarray


def centered_grid(side: int) -> tuple[np.ndarray, np.ndarray]:
    """Give row and column offsets in pixels from the center of a square.

    Args:
        side: Length of the square in pixels.

    Returns:
        Offsets down, shape (side, 1), and offsets to the right, shape (1, side), float32.
    """
    offsets = (np.arange(side) - (side - 1) / 2).astype(np.float32)
    return offsets[:, None], offsets[None, :]


def soft_step(distance: np.ndarray, softness: float) -> np.ndarray:
    """Rise from 0 to 1 around distance 0 within about four times the softness (a logistic)."""
    return 1 / (1 + np.exp(-np.clip(distance / softness, -30, 30)))
