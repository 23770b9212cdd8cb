"""From predicted patches back to images, for looking at."""

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from miram.models.patches import patchify, unpatchify
from miram.models.targets import standardize


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
    patch_side: int,
    norm_pix: bool,
    loss_on: Literal["masked", "all"],
) -> Reconstruction:
    """Bring predictions to the units of the input.

    With `norm_pix` a decoder predicts standardized patches; mean and deviation of the true
    patch bring them back, as in the figures of the MAE paper.

    Args:
        image: (B, C, s*S, s*S) the target.
        prediction: (B, s*s*L, p*p*C).
        hidden: (B, s*s*L) 1 where a patch was hidden from the encoder.
        scale: s.
        patch_side: p.
        norm_pix: Whether the predictions are standardized.
        loss_on: Which patches the decoder learned; what it gives elsewhere means nothing.
    """
    target, prediction = patchify(image, patch_side), prediction.float()
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
        masked=unpatchify(masked, patch_side, channels),
        prediction=unpatchify(prediction, patch_side, channels),
    )
