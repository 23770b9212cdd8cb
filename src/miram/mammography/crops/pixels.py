"""Pixels of a crop: brought to the stored size and to the full 16-bit range.

Both steps give the same bytes on every machine.
"""

from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import Field, model_validator
from scipy import sparse

from miram.configuration import Config

FULL_RANGE = 65_535


class NormalizationConfig(Config):
    """Which grey levels become black and white.

    `percentile` measures inside the breast, away from strips, letters and empty film; its
    default is the whole range there, since lesions are among the brightest of its pixels
    (docs/decisions/001-grey-range.md). `bits` takes the whole range of the file's values.
    `fixed` takes `low` and `high` as they stand; both must be given, since no levels fit the
    films of every scanner.
    """

    method: Literal["percentile", "bits", "fixed"] = Field(
        "percentile", description="from where to where grey levels are scaled"
    )
    low: float = Field(0.0, ge=0, description="percentile, or grey level for `fixed`")
    high: float = Field(100.0, gt=0, description="percentile, or grey level for `fixed`")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.method == "fixed" and not {"low", "high"} <= self.model_fields_set:
            raise ValueError("the method fixed needs low and high, in grey levels of the film")
        if self.low >= self.high:
            raise ValueError(f"low ({self.low}) must be below high ({self.high})")
        if self.method == "percentile" and self.high > 100:
            raise ValueError(f"a percentile is at most 100, high is {self.high}")
        return self

    def grey_range(self, values: NDArray, max_value: int) -> tuple[float, float]:
        """Grey levels that become black and white, from the (n,) pixels inside the breast."""
        if self.method == "fixed":
            return self.low, self.high
        if self.method == "bits":
            return 0.0, float(max_value)
        low, high = np.percentile(values, [self.low, self.high])
        return float(low), float(high) if high > low else float(low) + 1.0


def to_full_range(pixels: NDArray, low: float, high: float) -> NDArray[np.uint16]:
    """Map the grey levels `low` and `high` to 0 and 65,535, linearly, clipped; (H, W) uint16."""
    scaled = pixels.astype(np.float32)
    scaled -= low
    scaled *= FULL_RANGE / (high - low)
    np.clip(scaled, 0, FULL_RANGE, out=scaled)
    return np.rint(scaled, out=scaled).astype(np.uint16)


def resample(image: NDArray, size: int) -> NDArray[np.float32]:
    """Resize an (s, s) image to (size, size) float32: area averages down, bicubic up."""
    if len(image) > size:
        return area_means(image, size).astype(np.float32)
    floats = np.ascontiguousarray(image, dtype=np.float32)
    if len(image) == size:
        return floats
    return np.asarray(Image.fromarray(floats).resize((size, size), Image.Resampling.BICUBIC))


def area_means(image: NDArray, size: int) -> NDArray[np.float64]:
    """Average an (s, s) image over (size, size) equal cells, size <= s, pixels shared out by area.

    Pillow's box filter gives each pixel to one cell whole, which shifts edges by up to half a
    pixel. For whole numbers of up to 16 bits all sums are whole numbers below 2^53, hence exact:
    no order of summation changes a bit of the float64 result.
    """
    overlaps = _overlaps(len(image), size)  # (size, s)
    # Columns first: then the result lies in memory row by row, as all that follows reads it.
    columns = overlaps @ image.T.astype(np.float64, order="C")  # (s, s) -> (size, s)
    sums: NDArray[np.float64] = overlaps @ columns.T  # (s, size) -> (size, size)
    return sums / len(image) ** 2


def _overlaps(pixels: int, cells: int) -> sparse.csr_array:
    """How much of each pixel of a row lies in each cell, in units of 1 / cells of a pixel.

    All borders are whole numbers in that unit. (cells, pixels) float64; rows sum to `pixels`.
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
