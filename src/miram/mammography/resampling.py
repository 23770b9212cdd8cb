"""Square images brought to another size, the same bytes on every machine."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def resample(image: NDArray, side: int) -> NDArray[np.float32]:
    """Resize a square image: area averages when it shrinks, bicubic when it grows.

    Args:
        image: (s, s) any real type.
        side: New side in pixels.

    Returns:
        (side, side) float32.
    """
    if len(image) > side:
        return area_means(image, side).astype(np.float32)
    floats = np.ascontiguousarray(image, dtype=np.float32)
    if len(image) == side:
        return floats
    return np.asarray(Image.fromarray(floats).resize((side, side), Image.Resampling.BICUBIC))


def area_means(image: NDArray, side: int) -> NDArray[np.float64]:
    """Average an image over a grid of equal cells, pixels at their borders shared out by area.

    Pillow's box filter gives each pixel to one cell whole, which shifts edges by up to half a
    pixel and a mirrored image otherwise; matrix products differ between BLAS libraries.

    Args:
        image: (s, s) any real type.
        side: Number of cells along each side, at most s.

    Returns:
        (side, side) float64.
    """
    means = image.astype(np.float64)
    for _ in range(2):
        means = _row_means(means, side).T
    return means


def _row_means(values: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """Means of `count` equal bands of rows, from interpolated cumulative sums."""
    sums = np.concatenate([np.zeros((1, values.shape[1])), np.cumsum(values, axis=0)])
    borders = np.arange(count + 1) * len(values) / count
    whole = np.minimum(borders.astype(int), len(values) - 1)
    part = (borders - whole)[:, None]
    at_borders = sums[whole] + part * values[whole]
    return np.diff(at_borders, axis=0) * (count / len(values))
