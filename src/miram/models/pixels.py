"""What pixels an encoder expects: grey levels in [0, 1], standardized."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from torch import Tensor

# Standard deviation of the flattest crop that is still stretched: below it there is only noise.
FLOOR = 0.01


@dataclass(frozen=True)
class Pixels:
    """How grey levels in [0, 1] are standardized for an encoder.

    Attributes:
        mean: Subtracted; None for the mean of each crop itself.
        deviation: Divides; None for the standard deviation of each crop itself.
    """

    mean: float | None = None
    deviation: float | None = None

    def of(self, images: Tensor) -> tuple[Tensor | float, Tensor | float]:
        """Mean and deviation for images (B, C, H, W): numbers, or (B, 1, 1, 1)."""
        if self.mean is not None and self.deviation is not None:
            return self.mean, self.deviation
        axes = (-3, -2, -1)
        mean = images.mean(dim=axes, keepdim=True)
        # On a CPU two passes take a quarter of the time of `std`, and are as exact.
        deviation = (images - mean).square().mean(dim=axes, keepdim=True).sqrt()
        return mean, deviation.clamp_min(FLOOR)

    def standardize(self, images: Tensor) -> Tensor:
        """Shift and scale grey levels (B, C, H, W) in [0, 1]."""
        mean, deviation = self.of(images)
        return (images - mean) / deviation

    @property
    def numbers(self) -> tuple[float, float]:
        """Mean and deviation for tools that know fixed ones alone: 0 and 1 for each crop's own."""
        if self.mean is None or self.deviation is None:
            return 0.0, 1.0
        return self.mean, self.deviation

    @property
    def words(self) -> str:
        """What to do with grey levels in [0, 1], for a page about an encoder."""
        if self.mean is None:
            return (
                f"minus the mean of the crop, divided by its standard deviation (at least {FLOOR})"
            )
        return f"minus {self.mean}, divided by {self.deviation}"

    def header(self) -> dict[str, Any]:
        """What a checkpoint's header says."""
        if self.mean is None:
            return {"pixels": "crop"}
        return {"pixels": "fixed", "pixel_mean": self.mean, "pixel_std": self.deviation}

    @classmethod
    def from_header(cls, metadata: Mapping[str, Any]) -> "Pixels":
        """Read a header; one that says nothing is of an encoder of before, see `HALF`."""
        if metadata.get("pixels") == "crop":
            return CROP
        return cls(float(metadata.get("pixel_mean", 0.5)), float(metadata.get("pixel_std", 0.5)))


CROP = Pixels()
HALF = Pixels(0.5, 0.5)
IMAGENET = Pixels(sum(IMAGENET_DEFAULT_MEAN) / 3, sum(IMAGENET_DEFAULT_STD) / 3)
