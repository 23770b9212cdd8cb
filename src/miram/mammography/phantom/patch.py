"""A lesion drawn alone: what it adds to the tissue, and its mask."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import fft, ndimage


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


def power_law_noise(
    shape: tuple[int, int], beta: float, rng: np.random.Generator, coarse: int = 1
) -> np.ndarray:
    """Draw a Gaussian field whose power falls with frequency f as 1/f^beta.

    Mammographic texture has beta of about 3 (Burgess, Jacobson & Judy, Med Phys 28:419, 2001).

    Args:
        shape: Height and width in pixels.
        beta: Exponent of the power spectrum.
        rng: Source of randomness.
        coarse: The field is drawn on a grid coarser by this factor and interpolated.

    Returns:
        Float32 array of the given shape with zero mean and unit variance on its grid.
    """
    grid = (fft.next_fast_len(-(-shape[0] // coarse)), fft.next_fast_len(-(-shape[1] // coarse)))
    amplitude = _amplitude(grid, beta)
    spectrum = np.empty(amplitude.shape, dtype=np.complex64)
    spectrum.real = rng.standard_normal(amplitude.shape, dtype=np.float32)
    spectrum.imag = rng.standard_normal(amplitude.shape, dtype=np.float32)
    field = fft.irfft2(spectrum * amplitude, s=grid)
    field = (field - field.mean()) / field.std()
    if coarse > 1:
        field = ndimage.zoom(field, coarse, order=1)
    return field[: shape[0], : shape[1]].astype(np.float32, copy=False)


@lru_cache(maxsize=8)
def _amplitude(grid: tuple[int, int], beta: float) -> np.ndarray:
    rows, columns = np.fft.fftfreq(grid[0])[:, None], np.fft.rfftfreq(grid[1])[None, :]
    frequency = np.hypot(rows, columns)
    frequency[0, 0] = np.inf  # no mean
    return (frequency ** (-beta / 2)).astype(np.float32)
