"""Which patches of a crop a served probe took for and against an answer, to the last digit.

Mean, deviation, maximum and the center of tokens are homogeneous: twice the tokens give twice the
feature. So a feature is the sum over the tokens of token times gradient (Euler), and so is the
logit, which is linear in the features. Decision 022.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from miram.errors import MiramError
from miram.evaluation.features.crop_encoder import CropEncoder, center_crop
from miram.evaluation.features.pooling import encode_parts, symmetries_of, turn
from miram.evaluation.probes.linear import LinearClassifier
from miram.models.images import to_unit


def contributions(
    encoder: CropEncoder,
    crops: NDArray[np.uint16],
    masks: NDArray[np.uint8],
    classifier: LinearClassifier,
    answer: int,
) -> dict[float, NDArray[np.float64]]:
    """Divide a logit, above the probe's intercept, among the patches of each crop.

    The zero of a patch is the average training lesion's. All patches together are the logit minus
    the intercept and minus what has no place: the CLS token and the grey levels, if they are read.

    Args:
        encoder: In evaluation mode.
        crops: (B, H, H), one after the other.
        masks: (B, h, h) lesion coverage.
        classifier: Of the probe.
        answer: Which of its K logits.

    Returns:
        By share of `center_crops` (B, n, n), each over that central part of the crop.

    Raises:
        MiramError: The encoder is no plain vision transformer, whose pooling is known.
    """
    if not isinstance(encoder.encoder, VisionTransformer):
        raise MiramError(
            f"the patches that spoke for an answer are known of vision transformers alone, and "
            f"this encoder is a {type(encoder.encoder).__name__}: leave out --explain"
        )
    device = next(encoder.parameters()).device
    slopes = classifier.coefficients[answer] / classifier.scale  # (d,) on raw features
    images = to_unit(torch.from_numpy(np.array(crops)).to(device)).squeeze(1)
    coverage = torch.from_numpy(np.array(masks)).to(device)
    patches = {}
    for share, columns, average in _parts(encoder, slopes, classifier.mean):
        views, lesion = encoder.views(images, share), center_crop(coverage, share)
        found = _by_patch(encoder, views, lesion, torch.from_numpy(columns).to(device))
        cells = found.shape[1] * found.shape[2]
        patches[share] = found.cpu().numpy() - average / cells
    return patches


def _parts(
    encoder: CropEncoder, slopes: NDArray[np.float64], mean: NDArray[np.float64]
) -> Iterator[tuple[float, NDArray[np.float64], float]]:
    """For each central part its share, its slopes, and what the patches of training add."""
    config = encoder.config
    pooled = [part for part in config.pooling if part != "grey"]
    of_patches = np.array([part != "cls" for part in pooled])
    vit: Any = encoder.encoder
    # Center crops, layers, parts, channels, as the features stand side by side.
    shape = (len(config.center_crops), -1, len(pooled), vit.num_features)
    tokens = slice(None, len(slopes) - 2 * ("grey" in config.pooling))
    by_share = slopes[tokens].reshape(shape)
    averages = (slopes * mean)[tokens].reshape(shape)[:, :, of_patches].sum(axis=(1, 2, 3))
    for place, share in enumerate(config.center_crops):
        yield share, by_share[place].ravel(), float(averages[place])


def _by_patch(encoder: CropEncoder, views: Tensor, coverage: Tensor, slopes: Tensor) -> Tensor:
    """(B, n, n) token times gradient, as the views are averaged: in the places of the first."""
    vit: Any = encoder.encoder
    config = encoder.config
    alone = config.model_copy(update={"symmetries": 1})
    total = torch.zeros((), dtype=torch.float64, device=views.device)
    for turns, mirrored in symmetries_of(config):
        turned, lesion = (turn(each, turns, mirrored) for each in (views, coverage))
        with _tokens_read(vit) as read, torch.enable_grad():
            logits = encode_parts(vit, turned, lesion, alone).double() @ slopes
            gradients = torch.autograd.grad(logits.sum(), read)
        for tokens, gradient in zip(read, gradients, strict=True):
            each = (tokens * gradient).detach().double().sum(dim=2)  # (B, prefix + n*n)
            each = each[:, vit.num_prefix_tokens :]
            side = round(each.shape[1] ** 0.5)
            grid = each.unflatten(1, (side, side))
            grid = turn(turn(grid, 0, mirrored), -turns, False)
            total = total + grid
    return total / config.symmetries


@contextmanager
def _tokens_read(vit: Any) -> Iterator[list[Tensor]]:
    """The tokens after the last norm within the block, from which on gradients are kept."""
    read: list[Tensor] = []

    def keep(_: nn.Module, __: tuple[Tensor, ...], tokens: Tensor) -> Tensor:
        read.append(tokens.detach().requires_grad_())
        return read[-1]

    handle = vit.norm.register_forward_hook(keep)
    try:
        yield read
    finally:
        handle.remove()
