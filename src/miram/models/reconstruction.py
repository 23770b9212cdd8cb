"""Targets, losses and pictures: what predicted patches are compared with and look like."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from miram.models.attention.base import no_autocast
from miram.models.decoders import DecodedPatches, DecoderConfig
from miram.models.images import gather_tokens, patchify, repeat_mask, unpatchify

EPSILON = 1e-6  # added to a patch's variance before the square root


def pyramid(images: Tensor, scales: Iterable[int]) -> dict[int, Tensor]:
    """Area averages (B, C, s*S, s*S) of crops (B, C, s_max*S, s_max*S), by scale s."""
    scales = set(scales)
    top = max(scales)
    return {s: F.avg_pool2d(images, top // s) if s < top else images for s in scales}


def enlargements(images: Tensor, scales: Iterable[int]) -> dict[int, Tensor]:
    """The encoder's input (B, C, S, S) with its pixels repeated s x s, by scale s."""
    return {s: F.interpolate(images, scale_factor=s, mode="nearest") for s in set(scales)}


def gradient_map(images: Tensor) -> Tensor:
    """Sobel gradient magnitude (B, C, H, W), as reconstructed by Uni4Eye (Cai et al., 2022)."""
    with no_autocast(images):
        from kornia.filters import sobel  # half a second that few need

        return sobel(images.float())


@dataclass(frozen=True)
class Standardized:
    """Patches with zero mean and unit variance, and the way back."""

    values: Tensor  # (B, L, P)
    mean: Tensor  # (B, L, 1)
    deviation: Tensor  # (B, L, 1)


def standardize(patches: Tensor) -> Standardized:
    """Standardize patches (B, L, P), each with its mean and unbiased variance (He et al., 2022)."""
    mean = patches.mean(dim=-1, keepdim=True)
    centered = patches - mean
    # On a CPU two passes take a quarter of the time of `var`, and are as exact.
    variance = centered.square().sum(dim=-1, keepdim=True) / (patches.shape[-1] - 1)
    deviation = (variance + EPSILON).sqrt()
    return Standardized(centered / deviation, mean, deviation)


@dataclass(frozen=True)
class LossTerm:
    """One summand of the loss, such as `loss_scale2` or `loss_scale2_gradient`."""

    name: str
    weight: float
    loss: Tensor  # ()


def loss_terms(
    config: DecoderConfig, decoded: DecodedPatches, image: Tensor, mask: Tensor, norm_pix: bool
) -> Iterator[LossTerm]:
    """Compare what a decoder predicts with the image (B, C, s*S, s*S) at its scale.

    `mask` (B, L) is 1 where a patch of the encoder's input was hidden; `norm_pix` standardizes
    each target patch, of gradients as well as of pixels.

    Yields:
        The loss of the pixels, and that of the gradient map if the decoder predicts one.
    """
    counted = repeat_mask(mask, config.scale)  # (B, s*s*L)
    if config.loss_on == "all":
        counted = torch.ones_like(counted)
    if decoded.chosen is not None:
        counted = counted.gather(1, decoded.chosen)  # -> (B, Q)

    def loss(prediction: Tensor, target: Tensor) -> Tensor:
        target = patchify(target, round((prediction.shape[2] / target.shape[1]) ** 0.5))
        if decoded.chosen is not None:
            target = gather_tokens(target, decoded.chosen)
        if norm_pix:
            target = standardize(target).values
        # Losses stay in float32 under autocast: a mean over many small squares.
        error = (prediction.float() - target).square().mean(dim=-1)  # (B, Q, P) -> (B, Q)
        return (error * counted).sum() / counted.sum()

    name = f"loss_scale{config.scale}"
    yield LossTerm(name, config.weight, loss(decoded.pixels, image))
    if decoded.gradients is not None:
        weight = config.weight * config.gradient_weight
        yield LossTerm(f"{name}_gradient", weight, loss(decoded.gradients, gradient_map(image)))


@dataclass(frozen=True)
class Reconstruction:
    """One scale of a reconstruction, all (B, C, s*S, s*S) in the units of the input.

    Attributes:
        scale: s.
        target: The image to reconstruct.
        masked: The target with hidden patches at the image's mean grey.
        prediction: What the decoder gives for every patch; of one that learned hidden patches
            alone the target where it was visible.
    """

    scale: int
    target: Tensor
    masked: Tensor
    prediction: Tensor


def to_pixels(
    image: Tensor,
    prediction: Tensor,
    hidden: Tensor,
    scale: int,
    patch_size: int,
    norm_pix: bool,
    loss_on: Literal["masked", "all"],
) -> Reconstruction:
    """Bring predictions to the units of the input.

    With `norm_pix` a decoder predicts standardized patches; mean and deviation of the true
    patch bring them back, as in the figures of the MAE paper. What a decoder gives for patches
    other than those of `loss_on` means nothing.

    Target (B, C, s*S, s*S), prediction (B, s*s*L, p*p*C) and `hidden` (B, s*s*L), 1 where a patch
    was hidden from the encoder.
    """
    target, prediction = patchify(image, patch_size), prediction.float()
    if norm_pix:
        standard = standardize(target)
        prediction = prediction * standard.deviation + standard.mean
    grey = target.mean(dim=(1, 2), keepdim=True)
    hidden = hidden.unsqueeze(-1)  # (B, s*s*L, 1)
    masked = target * (1 - hidden) + grey * hidden
    if loss_on == "masked":
        prediction = target * (1 - hidden) + prediction * hidden
    channels = image.shape[1]
    return Reconstruction(
        scale=scale,
        target=image,
        masked=unpatchify(masked, patch_size, channels),
        prediction=unpatchify(prediction, patch_size, channels),
    )
