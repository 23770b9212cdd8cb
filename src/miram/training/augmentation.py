"""Augmentation of a whole batch on its device, each sample from its own random numbers."""

from typing import Self

import torch
import torch.nn.functional as F
from kornia.enhance import adjust_brightness, adjust_contrast
from pydantic import Field, model_validator
from torch import Tensor

from miram.configuration import Config
from miram.models.pixels import standardize_pixels, to_unit

DRAWS = 9  # random numbers that one sample takes


class AugmentationConfig(Config):
    """Random resized crop, flips, rotation and intensity; zeros switch a part off."""

    min_area: float = Field(0.2, gt=0, le=1, description="least share of the crop's area kept")
    max_area: float = Field(1.0, gt=0, le=1, description="greatest share")
    aspect: float = Field(4 / 3, ge=1, description="greatest ratio of the sides")
    horizontal_flip: float = Field(0.5, ge=0, le=1, description="probability")
    vertical_flip: float = Field(0.0, ge=0, le=1, description="probability")
    rotation: float = Field(0.0, ge=0, le=180, description="greatest angle in degrees")
    brightness: float = Field(0.0, ge=0, le=1, description="greatest shift of [0, 1] grey levels")
    contrast: float = Field(0.0, ge=0, lt=1, description="greatest relative change")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min_area > self.max_area:
            raise ValueError(f"min_area ({self.min_area}) is above max_area ({self.max_area})")
        return self


def augment(crops: Tensor, uniforms: Tensor, config: AugmentationConfig) -> Tensor:
    """Cut, turn and shade a batch of crops.

    Args:
        crops: (B, H, H) uint16.
        uniforms: (B, DRAWS) in [0, 1): the random numbers of each sample.
        config: Ranges and probabilities.

    Returns:
        (B, 1, H, H) float32, standardized as the encoder expects.
    """
    images = to_unit(crops)
    grid = F.affine_grid(crop_matrices(uniforms, config), list(images.shape), align_corners=False)
    images = F.grid_sample(images, grid, padding_mode="reflection", align_corners=False)
    if config.contrast:
        images = adjust_contrast(images, 1 + config.contrast * (2 * uniforms[:, 7] - 1))
    if config.brightness:
        images = adjust_brightness(images, config.brightness * (2 * uniforms[:, 8] - 1))
    return standardize_pixels(images)


def crop_matrices(uniforms: Tensor, config: AugmentationConfig) -> Tensor:
    """Affine maps from output to input coordinates, both in [-1, 1].

    Args:
        uniforms: (B, DRAWS) in [0, 1).
        config: Ranges and probabilities.

    Returns:
        (B, 2, 3): a box of random area, aspect and place, flipped and turned about its center.
    """
    area = config.min_area + (config.max_area - config.min_area) * uniforms[:, 0]
    log_aspect = torch.log(torch.tensor(config.aspect, device=uniforms.device))
    stretch = torch.exp(log_aspect * (2 * uniforms[:, 1] - 1)).sqrt()
    width = (area.sqrt() * stretch).clamp(max=1)  # share of the crop's side
    height = (area.sqrt() / stretch).clamp(max=1)
    center_x = (1 - width) * (2 * uniforms[:, 2] - 1)
    center_y = (1 - height) * (2 * uniforms[:, 3] - 1)
    flip_x = 1 - 2 * (uniforms[:, 4] < config.horizontal_flip).float()
    flip_y = 1 - 2 * (uniforms[:, 5] < config.vertical_flip).float()
    angle = torch.deg2rad(torch.tensor(config.rotation)) * (2 * uniforms[:, 6] - 1)
    cos, sin = angle.cos(), angle.sin()
    top = torch.stack([width * flip_x * cos, -width * flip_y * sin, center_x], dim=1)
    bottom = torch.stack([height * flip_x * sin, height * flip_y * cos, center_y], dim=1)
    return torch.stack([top, bottom], dim=1)
