"""Square images brought to another size, the same bytes on every machine."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import sparse


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
    pixel and a mirrored image otherwise.

    Args:
        image: (s, s) any real type. For whole numbers of up to 16 bits all sums are whole
            numbers below 2^53, hence exact: no order of summation changes a bit of the result.
        side: Number of cells along each side, at most s.

    Returns:
        (side, side) float64.
    """
    overlaps = _overlaps(len(image), side)  # (side, s)
    # Columns first: then the result lies in memory row by row, as all that follows reads it.
    columns = overlaps @ image.T.astype(np.float64, order="C")  # (s, s) -> (side, s)
    sums: NDArray[np.float64] = overlaps @ columns.T  # (s, side) -> (side, side)
    return sums / len(image) ** 2


def _overlaps(pixels: int, cells: int) -> sparse.csr_array:
    """How much of each pixel of a row lies in each of `cells` equal cells.

    The unit is 1 / cells of a pixel, in which all borders are whole numbers.

    Returns:
        (cells, pixels) float64, whole numbers; each row sums to `pixels`.
    """
    borders = np.arange(cells + 1) * pixels
    first = borders[:-1] // cells  # the first pixel of each cell
    reach = int((-(-borders[1:] // cells) - first).max())
    touched = first[:, None] + np.arange(reach)  # (cells, reach)
    ends = np.minimum(borders[1:, None], (touched + 1) * cells)
    lengths = np.maximum(ends - np.maximum(borders[:-1, None], touched * cells), 0)
    columns = np.minimum(touched, pixels - 1)  # those past the end have length 0
    values = (lengths.ravel().astype(np.float64), columns.ravel(), np.arange(cells + 1) * reach)
    return sparse.csr_array(values, shape=(cells, pixels))
