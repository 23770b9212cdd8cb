"""Fitting one weight to another model: channels, grids and patches of other sizes."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from timm.layers import resample_abs_pos_embed, resample_patch_embed
from timm.models import adapt_input_conv
from torch import Tensor

from miram.errors import MiramError
from miram.models.patches import sincos_2d
from miram.models.pixels import PIXEL_MEAN, PIXEL_STD
from miram.models.pretrained_weights.names import ENCODER

PATCHES = f"{ENCODER}patch_embed.proj.weight"
PATCHES_BIAS = f"{ENCODER}patch_embed.proj.bias"
POSITIONS = f"{ENCODER}pos_embed"


@dataclass(frozen=True)
class Fitted:
    """A weight in the shape that is wanted.

    Attributes:
        value: The weight.
        how: What was done to it; empty for nothing.
    """

    value: Tensor
    how: str


def fit(name: str, value: Tensor, wanted: tuple[int, ...], channels: int) -> Fitted | None:
    """Bring a weight to the shape that a model wants, where that keeps its meaning.

    Args:
        name: By the names of `weight_names`.
        value: The weight of the checkpoint.
        wanted: Shape of the model's weight.
        channels: Channels of the checkpoint's images.

    Returns:
        The weight; None where it cannot be brought to that shape.
    """
    if tuple(value.shape) == wanted:
        return Fitted(value, "")
    if value.ndim != len(wanted):
        return None
    if name == POSITIONS:
        return _fit_positions(value, wanted)
    if name == PATCHES:
        return _fit_patches(value, wanted)
    head = name.endswith((".head.weight", ".head.bias")) and name.startswith("decoders.")
    if head and tuple(value.shape) == (channels * wanted[0], *wanted[1:]):
        # The mean over channels is the best grey image for the squared error.
        grey = value.unflatten(0, (channels, -1)).mean(dim=0)  # (C*p*p, ...) -> (p*p, ...)
        return Fitted(grey, f"mean of {channels} channels")
    return None


def _fit_positions(value: Tensor, wanted: tuple[int, ...]) -> Fitted | None:
    old, new = _grid_side(value.shape[1]), _grid_side(wanted[1])
    if value.shape[2] != wanted[2] or old is None or new is None:
        return None
    resized = resample_abs_pos_embed(value, [new, new], [old, old], num_prefix_tokens=1)
    return Fitted(resized, f"grid {old} x {old} resized to {new} x {new}")


def _fit_patches(value: Tensor, wanted: tuple[int, ...]) -> Fitted | None:
    steps = []
    if value.shape[1] != wanted[1]:
        if value.shape[1] != 3 or wanted[1] != 1:
            return None
        value = adapt_input_conv(1, value)  # (D, 3, p, p) -> (D, 1, p, p)
        steps.append("3 channels summed")
    if value.shape[2:] != wanted[2:]:
        steps.append(f"patch side {value.shape[2]} resampled to {wanted[2]}")
        value = resample_patch_embed(value, list(wanted[2:]))
    return Fitted(value, ", ".join(steps)) if tuple(value.shape) == wanted else None


def _grid_side(tokens: int) -> int | None:
    """Patches along a side of a square grid behind one CLS token, if it is one."""
    side = math.isqrt(max(0, tokens - 1))
    return side if side and side * side == tokens - 1 else None


def is_sincos(positions: Tensor) -> bool:
    """Whether positions (1, 1 + n*n, D) are the fixed ones that our decoders compute."""
    if positions.ndim != 3 or positions.shape[2] % 4:
        return False
    side = _grid_side(positions.shape[1])
    if side is None:
        return False
    fixed = sincos_2d(positions.shape[2], side, prefix_tokens=1)
    return torch.allclose(positions, fixed, atol=1e-3)  # half precision is as coarse as this


def absorb_pixels(
    weights: Mapping[str, Tensor], mean: tuple[float, ...], deviation: tuple[float, ...]
) -> dict[str, Tensor]:
    """Let the patch embedding take our pixels where it expects others.

    With u = (x - 0.5) / 0.5 ours and (x - mean) / deviation theirs, theirs is affine in u for
    each channel: the factor goes into the weights, the shift into the bias.

    Args:
        weights: Weights with a patch embedding (D, C, p, p) and its bias (D,).
        mean: Of each channel.
        deviation: Of each channel.

    Raises:
        MiramError: The patch embedding takes another number of channels, or has no bias.
    """
    kernel, bias = weights[PATCHES], weights.get(PATCHES_BIAS)
    if kernel.shape[1] != len(mean) or bias is None:
        raise MiramError(
            f"other pixels need a patch embedding of {len(mean)} channels with a bias, the "
            f"checkpoint's has {kernel.shape[1]}{'' if bias is not None else ' and no bias'}"
        )
    means = torch.tensor(mean).view(1, -1, 1, 1)
    deviations = torch.tensor(deviation).view(1, -1, 1, 1)
    shift = (kernel * (PIXEL_MEAN - means) / deviations).sum(dim=(1, 2, 3))
    return {
        **weights,
        PATCHES: kernel * PIXEL_STD / deviations,
        PATCHES_BIAS: bias + shift,
    }
