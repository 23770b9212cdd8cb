"""What a timm model makes of an image: a grid of tokens, a CLS token, a pooled vector."""

import logging
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from miram.errors import MiramError

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class EncodedImages:
    """The last or another layer of a model.

    Attributes:
        pooled: (B, D) mean over the patches; the model's own pooling if it is no plain vision
            transformer.
        grid: (B, n, n, E) tokens in their places, if the model keeps them in one square grid.
        cls: (B, E) CLS token, if there is one.
    """

    pooled: Tensor
    grid: Tensor | None
    cls: Tensor | None


def encode_images(encoder: nn.Module, images: Tensor, layer: int | None = None) -> EncodedImages:
    """Encode images with any timm model.

    Args:
        encoder: A timm model without classifier.
        images: (B, C, S, S).
        layer: Block of a vision transformer whose tokens are read, from 1, after the last norm;
            the last one if not given. Other models give their last layer whatever is asked.

    Raises:
        MiramError: The transformer has no such block.
    """
    if isinstance(encoder, VisionTransformer):
        tokens = vit_tokens(encoder, images, layer)
        prefix = encoder.num_prefix_tokens
        patches = tokens[:, prefix:]  # (B, prefix + n*n, D) -> (B, n*n, D)
        cls = tokens[:, 0] if prefix else None
        return EncodedImages(patches.mean(dim=1), _square(patches), cls)
    if layer is not None:
        _tell_once(f"{type(encoder).__name__} is no vision transformer: its last layer is read")
    features = encoder.forward_features(images)  # type: ignore[operator]
    pooled = encoder.forward_head(features, pre_logits=True)  # type: ignore[operator]
    grid, cls = _tokens(encoder, features)
    return EncodedImages(pooled.flatten(1), grid, cls)


def vit_tokens(vit: VisionTransformer, images: Tensor, layer: int | None = None) -> Tensor:
    """Tokens of one block after the last norm, CLS first: (B, C, S, S) -> (B, 1 + N, D)."""
    if layer is None:
        return vit.forward_features(images)
    if not 1 <= layer <= len(vit.blocks):
        raise MiramError(f"features.layer is {layer}, but the encoder has {len(vit.blocks)} blocks")
    found: Any = vit.forward_intermediates(
        images,
        indices=[layer - 1],
        return_prefix_tokens=True,
        norm=True,
        stop_early=True,
        output_fmt="NLC",
        intermediates_only=True,
    )
    if not vit.num_prefix_tokens:
        return found[0]
    [(patches, prefix)] = found
    return torch.cat([prefix, patches], dim=1)


def _tokens(encoder: nn.Module, features: object) -> tuple[Tensor | None, Tensor | None]:
    """Grid and CLS token of a model's last layer, where it has them."""
    if not isinstance(features, Tensor):
        return None, None
    if features.ndim == 4:
        last = getattr(encoder, "output_fmt", "NCHW") == "NHWC"
        return features if last else features.permute(0, 2, 3, 1), None
    prefix = getattr(encoder, "num_prefix_tokens", 0)
    return _square(features[:, prefix:]), features[:, 0] if prefix else None


def _square(patches: Tensor) -> Tensor | None:
    side = round(patches.shape[1] ** 0.5)
    if side * side != patches.shape[1]:
        return None
    return patches.unflatten(1, (side, side))  # (B, n*n, D) -> (B, n, n, D)


@cache
def _tell_once(text: str) -> None:
    log.warning(text)
