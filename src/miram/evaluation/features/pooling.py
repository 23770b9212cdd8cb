"""What a timm model makes of an image, and how its tokens become one vector."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field, PositiveInt, field_validator
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from miram.configuration import Config, Listed
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


def encode_images(
    encoder: nn.Module, images: Tensor, layers: Sequence[int] = ()
) -> list[EncodedImages]:
    """Encode images with any timm model.

    Args:
        encoder: A timm model without classifier.
        images: (B, C, S, S).
        layers: Blocks of a vision transformer whose tokens are read, from 1, after the last norm;
            the last one if none is given. Other models give their last layer whatever is asked.

    Returns:
        One for each layer.

    Raises:
        MiramError: The transformer has no such block.
    """
    if isinstance(encoder, VisionTransformer):
        prefix = encoder.num_prefix_tokens
        found = []
        for tokens in vit_tokens(encoder, images, layers):
            patches = tokens[:, prefix:]  # (B, prefix + n*n, D) -> (B, n*n, D)
            cls = tokens[:, 0] if prefix else None
            found.append(EncodedImages(patches.mean(dim=1), _square(patches), cls))
        return found
    if layers:
        _log_once(f"{type(encoder).__name__} is no vision transformer: its last layer is read")
    features = encoder.forward_features(images)  # type: ignore[operator]
    pooled = encoder.forward_head(features, pre_logits=True)  # type: ignore[operator]
    grid, cls = _tokens(encoder, features)
    return [EncodedImages(pooled.flatten(1), grid, cls)]


def vit_tokens(vit: VisionTransformer, images: Tensor, layers: Sequence[int] = ()) -> list[Tensor]:
    """Tokens of each layer after the last norm, CLS first: (B, C, S, S) -> (B, 1 + N, D)."""
    if not layers:
        return [vit.forward_features(images)]
    if max(layers) > len(vit.blocks):
        raise MiramError(
            f"features.layers has {max(layers)}, but the encoder has {len(vit.blocks)} blocks"
        )
    found: Any = vit.forward_intermediates(
        images,
        indices=[layer - 1 for layer in layers],
        return_prefix_tokens=True,
        norm=True,
        stop_early=True,
        output_fmt="NLC",
        intermediates_only=True,
    )
    if not vit.num_prefix_tokens:
        return list(found)
    return [torch.cat([prefix, patches], dim=1) for patches, prefix in found]


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
def _log_once(text: str) -> None:
    log.warning(text)


Part = Literal["mean", "std", "max", "center", "cls", "lesion", "lesion_std", "grey"]
OF_LESION: tuple[Part, ...] = ("lesion", "lesion_std")
"""Parts that depend on the lesion mask, and so give away the outline that a reader has drawn."""
_WORDS: dict[str, tuple[Part, ...]] = {
    "patches": ("mean",),
    "both": ("cls", "mean"),
    "rich": ("mean", "std", "max", "center"),
}
Symmetries = Literal[1, 8]
Share = Annotated[float, Field(gt=0, le=1)]


class FeatureConfig(Config):
    """How the tokens of a crop become one vector.

    `pooling` names the parts that are put side by side, in YAML as `mean+std+cls`:

    - `mean`, `std`, `max` over all patches, feature by feature; `center`, the mean over the central
      quarter of them; `rich` is short for these four.
    - `cls`, the CLS token; `both` is short for `cls+mean`.
    - `lesion` and `lesion_std`, mean and deviation over the patches under the lesion mask, weighted
      by how much of them it covers (all patches where no mask covers anything). They read the
      outline, which a reader has drawn: blank pixels, too, then tell lesions apart.
    - `grey`, mean and deviation of the crop's grey levels, which an encoder with `pixels: crop`
      never sees.

    Of a model that is no plain vision transformer, `mean` is the model's own pooled vector of its
    last layer, and parts that it does not have are left out.
    """

    renamed: ClassVar[dict[str, str]] = {"layer": "layers"}

    pooling: tuple[Part, ...] = Field(("mean",), min_length=1)
    layers: Listed[PositiveInt] = Field(
        (), description="blocks whose tokens are read, from 1, side by side; the last if none"
    )
    symmetries: Symmetries = Field(
        1, description="8: average over all flips and transpositions, at 8 times the cost"
    )
    center_crops: Listed[Share] = Field(
        (1.0,),
        min_length=1,
        description="central parts of the crop that are encoded, side by side, as shares of its "
        "side: 1+0.8 for contexts 1.25 and 1 of a store with rois.context 1.25",
    )
    batch_size: int = Field(
        64, ge=1, description="crops at once, at most; fewer where memory holds fewer"
    )

    @property
    def reads_masks(self) -> bool:
        """Whether the features depend on where in the crop the lesion is."""
        return not set(OF_LESION).isdisjoint(self.pooling)

    @field_validator("pooling", mode="before")
    @classmethod
    def _parts(cls, given: Any) -> Any:
        words = given.split("+") if isinstance(given, str) else given
        if not (isinstance(words, (list, tuple)) and all(isinstance(word, str) for word in words)):
            raise ValueError(f"give names of parts, got {given!r}")
        return tuple(part for word in words for part in _WORDS.get(word.strip(), (word.strip(),)))

    @field_validator("pooling")
    @classmethod
    def _once(cls, parts: tuple[Part, ...]) -> tuple[Part, ...]:
        if len(set(parts)) != len(parts):
            raise ValueError(f"each part once, got {'+'.join(parts)}")
        if parts == ("grey",):
            raise ValueError("grey alone needs no encoder: it is the baseline mean_grey")
        return parts

    @field_validator("symmetries", mode="before")
    @classmethod
    def _number(cls, given: Any) -> Any:
        if isinstance(given, bool):
            raise ValueError("symmetries is a number now: 8 for all of them, 1 for none")
        return given


def encode_parts(
    encoder: nn.Module, images: Tensor, coverage: Tensor, config: FeatureConfig
) -> Tensor:
    """Encode images (B, C, S, S) with coverage (B, h, h), and pool their tokens: (B, D).

    The encoder is a timm model in evaluation mode; its layers follow one another.
    """
    total = torch.zeros((), device=images.device)
    for turns, mirrored in symmetries_of(config):
        turned, lesion = (turn(each, turns, mirrored) for each in (images, coverage))
        encoded = encode_images(encoder, turned, config.layers)
        pooled = [_pool(layer, lesion, config.pooling) for layer in encoded]
        total = total + torch.cat(pooled, dim=1)
    return total / config.symmetries


def symmetries_of(config: FeatureConfig) -> Iterator[tuple[int, bool]]:
    """Quarter turns, and whether a transposition follows, of each view that is averaged."""
    if config.symmetries == 1:
        return iter([(0, False)])
    return product(range(4), (False, True))


def turn(images: Tensor, turns: int, mirrored: bool) -> Tensor:
    """Turn images (..., H, H) by quarters, then transpose them if mirrored."""
    images = images.rot90(turns, dims=(-2, -1)) if turns else images
    return images.transpose(-2, -1) if mirrored else images


def _pool(encoded: EncodedImages, coverage: Tensor, parts: tuple[Part, ...]) -> Tensor:
    found = [_part(name, encoded, coverage) for name in parts]
    kept = [part for part in found if part is not None]
    return torch.cat(kept or [encoded.pooled], dim=1)


def _part(name: Part, encoded: EncodedImages, coverage: Tensor) -> Tensor | None:
    if name == "mean":
        return encoded.pooled
    if name == "cls":
        return encoded.cls
    if name == "grey" or encoded.grid is None:
        return None
    if name == "center":
        side = encoded.grid.shape[1]
        edge = side // 4
        return encoded.grid[:, edge : side - edge, edge : side - edge].mean(dim=(1, 2))
    tokens = encoded.grid.flatten(1, 2)  # (B, n, n, D) -> (B, n*n, D)
    if name == "std":
        # On a CPU two passes take a quarter of the time of `std`, and are as exact.
        return (tokens - tokens.mean(dim=1, keepdim=True)).square().mean(dim=1).sqrt()
    if name == "max":
        return tokens.amax(dim=1)
    weights = patch_coverage(coverage, encoded.grid.shape[1])  # (B, n*n)
    # Without a mask every patch weighs alike.
    weights = torch.where(weights.sum(dim=1, keepdim=True) > 0, weights, torch.ones_like(weights))
    weights = (weights / weights.sum(dim=1, keepdim=True)).unsqueeze(1)
    mean = weights @ tokens  # (B, 1, n*n) @ (B, n*n, D) -> (B, 1, D)
    if name == "lesion":
        return mean.squeeze(1)
    return (weights @ (tokens - mean).square()).squeeze(1).sqrt()
