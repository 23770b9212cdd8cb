"""What decoders are asked to predict: images at each scale, gradient maps, standard patches."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch.nn.functional as F
from kornia.filters import sobel
from torch import Tensor

from miram.models.attention.precision import no_autocast

EPSILON = 1e-6  # added to a patch's variance before the square root


def pyramid(images: Tensor, scales: Iterable[int]) -> dict[int, Tensor]:
    """Area averages of a crop at each scale.

    Args:
        images: (B, C, s_max*S, s_max*S).
        scales: Scales s, each a divisor of the highest.

    Returns:
        (B, C, s*S, s*S) by s.
    """
    scales = set(scales)
    top = max(scales)
    return {s: F.avg_pool2d(images, top // s) if s < top else images for s in scales}


def enlargements(images: Tensor, scales: Iterable[int]) -> dict[int, Tensor]:
    """The encoder's input (B, C, S, S) with its pixels repeated s x s, by scale s."""
    return {s: F.interpolate(images, scale_factor=s, mode="nearest") for s in set(scales)}


def gradient_map(images: Tensor) -> Tensor:
    """Sobel gradient magnitude, as reconstructed beside the image by Uni4Eye (Cai et al., 2022).

    Args:
        images: (B, C, H, W).

    Returns:
        (B, C, H, W) in grey levels per pixel.
    """
    with no_autocast(images):
        return sobel(images.float())


@dataclass(frozen=True)
class Standardized:
    """Patches with zero mean and unit variance, and the way back.

    Attributes:
        values: (B, L, P).
        mean: (B, L, 1).
        deviation: (B, L, 1).
    """

    values: Tensor
    mean: Tensor
    deviation: Tensor


def standardize(patches: Tensor) -> Standardized:
    """Standardize each patch with its mean and unbiased variance (He et al., 2022).

    Args:
        patches: (B, L, P).
    """
    mean = patches.mean(dim=-1, keepdim=True)
    deviation = (patches.var(dim=-1, keepdim=True) + EPSILON).sqrt()
    return Standardized((patches - mean) / deviation, mean, deviation)
