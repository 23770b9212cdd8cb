"""What a timm model makes of an image, and how its tokens become one vector."""

import logging
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import torch
from pydantic import Field, field_validator
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from miram.configuration import Config
from miram.errors import MiramError
from miram.models.masking import patch_coverage

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


Part = Literal["patches", "lesion", "cls"]
_WORDS = {"both": ("cls", "patches")}


class FeatureConfig(Config):
    """How the tokens of an image become one vector.

    `pooling` names the parts that are put side by side, in YAML as `patches+lesion+cls`:
    `patches`, the mean over all patches; `lesion`, the mean over the patches under the lesion
    mask, weighted by how much of them it covers (all patches where no mask covers anything);
    `cls`, the CLS token. `both` is short for `cls+patches`.

    Of a model that is no plain vision transformer, `patches` is the model's own pooled vector
    of its last layer, and parts that it does not have are left out.
    """

    pooling: tuple[Part, ...] = Field(("patches",), min_length=1)
    layer: int | None = Field(
        None, ge=1, description="block whose tokens are read, from 1; the last if not given"
    )
    symmetries: bool = Field(
        False, description="average over the 8 flips and transpositions, at 8 times the cost"
    )
    batch_size: int = Field(
        64, ge=1, description="crops at once, at most; fewer where memory holds fewer"
    )

    @field_validator("pooling", mode="before")
    @classmethod
    def _parts(cls, given: Any) -> Any:
        if not isinstance(given, str):
            return given
        words = [word.strip() for word in given.split("+")]
        return tuple(part for word in words for part in _WORDS.get(word, (word,)))

    @field_validator("pooling")
    @classmethod
    def _once(cls, parts: tuple[Part, ...]) -> tuple[Part, ...]:
        if len(set(parts)) != len(parts):
            raise ValueError(f"each part once, got {'+'.join(parts)}")
        return parts


@torch.inference_mode()
def encode_parts(
    encoder: nn.Module, images: Tensor, coverage: Tensor, config: FeatureConfig
) -> Tensor:
    """Encode images and pool their tokens.

    Args:
        encoder: A timm model in evaluation mode.
        images: (B, C, S, S).
        coverage: (B, h, h) uint8.
        config: Pooling.

    Returns:
        (B, D).
    """
    if not config.symmetries:
        return _pool(encode_images(encoder, images, config.layer), coverage, config)
    total = torch.zeros((), device=images.device)
    for turns in range(4):
        for mirrored in (False, True):
            turned = _turn(images, turns, mirrored=mirrored)
            encoded = encode_images(encoder, turned, config.layer)
            total = total + _pool(encoded, _turn(coverage, turns, mirrored=mirrored), config)
    return total / 8


def _turn(images: Tensor, turns: int, *, mirrored: bool) -> Tensor:
    images = images.rot90(turns, dims=(-2, -1))
    return images.transpose(-2, -1) if mirrored else images


def _pool(encoded: EncodedImages, coverage: Tensor, config: FeatureConfig) -> Tensor:
    found = [_part(name, encoded, coverage) for name in config.pooling]
    parts = [part for part in found if part is not None]
    return torch.cat(parts or [encoded.pooled], dim=1)


def _part(name: Part, encoded: EncodedImages, coverage: Tensor) -> Tensor | None:
    if name == "patches":
        return encoded.pooled
    if name == "cls" or encoded.grid is None:
        return encoded.cls if name == "cls" else None
    tokens = encoded.grid.flatten(1, 2)  # (B, n, n, D) -> (B, n*n, D)
    weights = patch_coverage(coverage, encoded.grid.shape[1])  # (B, n*n)
    # Without a mask every patch weighs alike.
    weights = torch.where(weights.sum(dim=1, keepdim=True) > 0, weights, torch.ones_like(weights))
    weights = weights / weights.sum(dim=1, keepdim=True)
    return (weights.unsqueeze(1) @ tokens).squeeze(1)  # (B, 1, n*n) @ (B, n*n, D) -> (B, D)
