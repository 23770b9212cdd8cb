"""Augmentation of a whole batch on its device, each sample from its own random numbers."""

import math
from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from miram.configuration import Config
from miram.models.images import to_unit

DRAWS = 12  # random numbers that one view of one sample takes

# Greatest deviation of the blur as a share of the crop's size, and the least of it: SimCLR's 0.1
# to 2 pixels at 224.
_BLUR_SIGMA, _LEAST_BLUR = 2 / 224, 0.05

Mode = Literal["bicubic", "bilinear"]


class AugmentationConfig(Config):
    """Random resized crop, flips, rotation, intensity, blur; zeros switch a part off."""

    min_area: float = Field(0.2, gt=0, le=1, description="least share of the crop's area kept")
    aspect: float = Field(4 / 3, ge=1, description="greatest ratio of width and height")
    horizontal_flip: float = Field(0.5, ge=0, le=1, description="probability")
    vertical_flip: float = Field(0.0, ge=0, le=1, description="probability")
    rotation: float = Field(0.0, ge=0, le=180, description="greatest angle in degrees")
    brightness: float = Field(0.0, ge=0, le=1, description="greatest shift of [0, 1] grey levels")
    contrast: float = Field(0.0, ge=0, lt=1, description="greatest relative change")
    blur: float = Field(0.0, ge=0, le=1, description="probability")
    solarize: float = Field(
        0.0, ge=0, le=1, description="probability of turning grey levels above 1/2 over"
    )


def augment(crops: Tensor, uniforms: Tensor, config: AugmentationConfig) -> Tensor:
    """Cut, turn and shade a batch of crops.

    Args:
        crops: (B, H, H) uint16.
        uniforms: (B, DRAWS) in [0, 1): the random numbers of each sample.
        config: Ranges and probabilities.

    Returns:
        (B, 1, H, H) float32 grey levels in [0, 1].
    """
    # Bicubic, as bilinear interpolation takes away the detail that the high resolution is about;
    # it goes beyond the range of grey levels at edges.
    images = _warp(to_unit(crops), uniforms, config, "bicubic").clamp(0, 1)
    if config.contrast or config.brightness:
        images = _shade(images, uniforms[:, 7:9], config)
    if config.blur:
        images = _sometimes(uniforms[:, 9] < config.blur, _blur(images, uniforms[:, 10]), images)
    if config.solarize:
        turned = torch.where(images < 0.5, images, 1 - images)
        images = _sometimes(uniforms[:, 11] < config.solarize, turned, images)
    return images


def augment_coverage(coverage: Tensor, uniforms: Tensor, config: AugmentationConfig) -> Tensor:
    """Cut and turn lesion masks, (B, h, h) uint8, as `augment` does their crops."""
    cells = _warp(coverage.unsqueeze(1).float(), uniforms, config, "bilinear")
    return cells.squeeze(1).round().clamp(0, 255).to(torch.uint8)


def _warp(images: Tensor, uniforms: Tensor, config: AugmentationConfig, mode: Mode) -> Tensor:
    matrices = crop_matrices(uniforms, config)
    if images.device.type == "cpu" and not config.rotation:
        # Columns and rows one after the other: the same numbers in half of the time.
        size = images.shape[-1]
        down, across = (axis_weights(matrices[:, i, [i, 2]], size, mode) for i in (1, 0))
        return down @ images @ across.mT
    grid = F.affine_grid(matrices, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, mode, padding_mode="reflection", align_corners=False)


def axis_weights(lines: Tensor, size: int, mode: Mode) -> Tensor:
    """How much each pixel of an axis gives to each sample: (B, 2) -> (B, 1, size, size).

    `lines` are scale and shift from output to input coordinates, both in [-1, 1]. The samples are
    those of `grid_sample` on one axis, whose cubic kernel is Keys's with -0.75; beyond its ends the
    axis is reflected.
    """
    scale, shift = lines[:, :1], lines[:, 1:]
    outputs = (2 * torch.arange(size, device=lines.device) + 1) / size - 1
    places = ((scale * outputs + shift + 1) * size - 1) / 2  # (B, size), in pixels
    before = places.floor()
    cubic = mode == "bicubic"
    pixels = before[..., None] + torch.arange(-1 if cubic else 0, 3 if cubic else 2)
    x = (pixels - places[..., None]).abs()
    if cubic:
        near = (1.25 * x - 2.25) * x * x + 1
        weights = torch.where(x <= 1, near, ((3.75 - 0.75 * x) * x - 6) * x + 3)
    else:
        weights = 1 - x
    pixels = torch.where(pixels < 0, -1 - pixels, pixels)
    pixels = torch.where(pixels >= size, 2 * size - 1 - pixels, pixels).clamp(0, size - 1)
    whole = places.new_zeros(len(lines), size, size).scatter_add_(2, pixels.long(), weights)
    return whole.unsqueeze(1)


def _shade(images: Tensor, uniforms: Tensor, config: AugmentationConfig) -> Tensor:
    # Imported where it is used: kornia takes half a second, and many a command needs none of it.
    from kornia.enhance import adjust_brightness, adjust_contrast

    contrast, brightness = (2 * uniforms - 1).unbind(1)
    if config.contrast:
        images = adjust_contrast(images, 1 + config.contrast * contrast)
    if config.brightness:
        images = adjust_brightness(images, config.brightness * brightness)
    return images


def _blur(images: Tensor, uniforms: Tensor) -> Tensor:
    from kornia.filters import gaussian_blur2d

    greatest = _BLUR_SIGMA * images.shape[-1]  # share of the size -> pixels
    sigma = greatest * (_LEAST_BLUR + (1 - _LEAST_BLUR) * uniforms)
    kernel = 2 * max(1, math.ceil(3 * greatest)) + 1
    return gaussian_blur2d(images, kernel, sigma.unsqueeze(1).expand(-1, 2))


def _sometimes(chosen: Tensor, changed: Tensor, images: Tensor) -> Tensor:
    return torch.where(chosen[:, None, None, None], changed, images)


def crop_matrices(uniforms: Tensor, config: AugmentationConfig) -> Tensor:
    """Affine maps from output to input coordinates, both in [-1, 1]: (B, 2, 3).

    Each is a box of random area, aspect and place, flipped and turned about its center.
    """
    area = config.min_area + (1 - config.min_area) * uniforms[:, 0]
    log_aspect = torch.log(torch.tensor(config.aspect, device=uniforms.device))
    stretch = torch.exp(log_aspect * (2 * uniforms[:, 1] - 1)).sqrt()
    width = (area.sqrt() * stretch).clamp(max=1)  # share of the crop's
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
