"""From an image's own grey levels to the full 16-bit range, the same for every pixel of it."""

from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

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

    method: Literal["percentile", "bits", "fixed"] = "percentile"
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
        """Find the grey levels that become black and white.

        Args:
            values: (n,) pixels inside the breast.
            max_value: Greatest grey level of the decoded image.

        Returns:
            Black and white level, black below white.
        """
        if self.method == "fixed":
            return self.low, self.high
        if self.method == "bits":
            return 0.0, float(max_value)
        low, high = np.percentile(values, [self.low, self.high])
        return float(low), float(high) if high > low else float(low) + 1.0


def to_full_range(pixels: NDArray, low: float, high: float) -> NDArray[np.uint16]:
    """Map black and white level to 0 and 65,535, linearly, clipped.

    Args:
        pixels: (H, W) grey levels.
        low: Level that becomes 0.
        high: Level that becomes 65,535.

    Returns:
        (H, W) uint16.
    """
    scaled = pixels.astype(np.float32)
    scaled -= low
    scaled *= FULL_RANGE / (high - low)
    np.clip(scaled, 0, FULL_RANGE, out=scaled)
    return np.rint(scaled, out=scaled).astype(np.uint16)
