"""What a decoder's predictions cost: mean squared errors of patches."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from miram.models.decoders import DecodedPatches, DecoderConfig
from miram.models.patches import gather_tokens, patchify, repeat_mask
from miram.models.targets import gradient_map, standardize


@dataclass(frozen=True)
class LossTerm:
    """One summand of the loss.

    Attributes:
        name: Such as `loss_scale2` or `loss_scale2_gradient`.
        weight: Its factor in the sum.
        loss: A scalar.
    """

    name: str
    weight: float
    loss: Tensor


def loss_terms(
    config: DecoderConfig, decoded: DecodedPatches, image: Tensor, mask: Tensor, norm_pix: bool
) -> Iterator[LossTerm]:
    """Compare what a decoder predicts with the image at its scale.

    Args:
        config: The decoder's.
        decoded: What it predicts.
        image: (B, C, s*S, s*S).
        mask: (B, L) 1 where a patch of the encoder's input was hidden.
        norm_pix: Whether each target patch is standardized, gradients as well as pixels.

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
        return mean_squared_error(prediction, target, counted, norm_pix)

    name = f"loss_scale{config.scale}"
    yield LossTerm(name, config.weight, loss(decoded.pixels, image))
    if decoded.gradients is not None:
        weight = config.weight * config.gradient_weight
        yield LossTerm(f"{name}_gradient", weight, loss(decoded.gradients, gradient_map(image)))


def mean_squared_error(
    prediction: Tensor, target: Tensor, counted: Tensor, norm_pix: bool
) -> Tensor:
    """Mean squared error over the patches that count.

    Args:
        prediction: (B, Q, P).
        target: (B, Q, P) patches.
        counted: (B, Q) 1 for patches that count, 0 for others.
        norm_pix: Whether each target patch is standardized.
    """
    if norm_pix:
        target = standardize(target).values
    # Losses stay in float32 under autocast: a mean over many small squares.
    error = (prediction.float() - target).square().mean(dim=-1)  # (B, Q, P) -> (B, Q)
    return (error * counted).sum() / counted.sum()
