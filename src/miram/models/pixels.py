"""What pixels an encoder expects: grey levels in [0, 1], shifted and scaled."""

import torch
import torch.nn.functional as F
from torch import Tensor

PIXEL_MEAN = 0.5
PIXEL_STD = 0.5
_WHITE = 65_535


def plain_views(crops: Tensor, side: int) -> Tensor:
    """The same crops without augmentation, area-averaged to the side asked for.

    Args:
        crops: (B, H, H) uint16.
        side: S.

    Returns:
        (B, 1, S, S) float32, standardized as the encoder expects.
    """
    images = to_unit(crops)
    if images.shape[-1] != side:
        images = F.interpolate(images, size=(side, side), mode="area")
    return standardize_pixels(images)


def to_unit(crops: Tensor) -> Tensor:
    """Grey levels in [0, 1]: (B, H, W) uint16 -> (B, 1, H, W) float32."""
    return crops.unsqueeze(1).to(torch.float32) / _WHITE


def standardize_pixels(images: Tensor) -> Tensor:
    """Shift and scale grey levels in [0, 1] to what the encoder expects."""
    return (images - PIXEL_MEAN) / PIXEL_STD


def to_grey(images: Tensor) -> Tensor:
    """Back to grey levels in [0, 1]: the inverse of `standardize_pixels`, clipped."""
    return (images * PIXEL_STD + PIXEL_MEAN).clamp(0, 1)
