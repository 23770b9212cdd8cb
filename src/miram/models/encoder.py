"""The encoder: a timm vision transformer, and how it reads visible patches only."""

from collections.abc import Collection
from typing import Any, Self

import timm
import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from miram.configuration import Config
from miram.models.patches import gather_tokens, patchify, sincos_2d


class EncoderConfig(Config):
    """Which timm vision transformer is trained, and on which images.

    `overrides` go to `timm.create_model` as they stand, such as `depth: 6`.
    """

    name: str = Field(description="name of a timm vit_* model")
    image_side: int = Field(ge=16, description="side of the input in pixels")
    patch_side: int = Field(ge=2, description="side of a patch in pixels")
    channels: int = Field(1, ge=1, le=3)
    overrides: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _sides_fit(self) -> Self:
        if self.image_side % self.patch_side:
            nearest = max(1, round(self.image_side / self.patch_side)) * self.patch_side
            raise ValueError(
                f"encoder.image_side ({self.image_side}) is not a multiple of "
                f"encoder.patch_side ({self.patch_side}); {nearest} would be"
            )
        if not timm.is_model(self.name):
            close = ", ".join(timm.list_models(f"{self.name.split('_')[0]}_*")[:5])
            raise ValueError(f"timm has no model {self.name!r}; it has, for instance: {close}")
        return self

    @property
    def grid_side(self) -> int:
        """Patches along each side of the image."""
        return self.image_side // self.patch_side

    @property
    def timm_arguments(self) -> dict[str, Any]:
        """Arguments that make the same model again with `timm.create_model`."""
        return {
            "model_name": self.name,
            "img_size": self.image_side,
            "patch_size": self.patch_side,
            "in_chans": self.channels,
            "num_classes": 0,
            **self.overrides,
        }

    def build(self, seed: int) -> VisionTransformer:
        """Make the encoder with fresh weights and fixed sine-cosine positions.

        Args:
            seed: Of the weights.

        Raises:
            TypeError: The name is not a plain vision transformer with one CLS token.
        """
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            vit = timm.create_model(**self.timm_arguments)
            if not isinstance(vit, VisionTransformer) or vit.num_prefix_tokens != 1:
                raise TypeError(f"{self.name} is not a vision transformer with one CLS token")
            initialize(vit)
            vit.cls_token = nn.Parameter(torch.empty(1, 1, vit.embed_dim).normal_(std=0.02))
        positions = sincos_2d(vit.embed_dim, self.grid_side, vit.num_prefix_tokens)
        vit.pos_embed = nn.Parameter(positions, requires_grad=False)
        return vit


def initialize(module: nn.Module) -> None:
    """Initialize as MAE does: xavier-uniform linear maps, unit norms, flattened patch embedding."""
    for part in module.modules():
        if isinstance(part, nn.Linear):
            nn.init.xavier_uniform_(part.weight)
            if part.bias is not None:
                nn.init.zeros_(part.bias)
        elif isinstance(part, nn.LayerNorm):
            nn.init.ones_(part.weight)
            nn.init.zeros_(part.bias)
        elif isinstance(part, nn.Conv2d) and part.kernel_size == part.stride:
            nn.init.xavier_uniform_(part.weight.view(part.weight.shape[0], -1))
            if part.bias is not None:
                nn.init.zeros_(part.bias)


def encode_visible(vit: VisionTransformer, images: Tensor, keep: Tensor) -> Tensor:
    """Encode the visible patches alone: hidden ones cost nothing, not even an embedding.

    Args:
        vit: The encoder, with N patches.
        images: (B, C, H, W).
        keep: (B, K) indices of the visible patches.

    Returns:
        (B, 1 + K, D): CLS and visible tokens after the last norm.
    """
    return encode_levels(vit, images, keep)[len(vit.blocks)]


def encode_levels(
    vit: VisionTransformer, images: Tensor, keep: Tensor, levels: Collection[int] = ()
) -> dict[int, Tensor]:
    """Encode the visible patches, and keep what inner blocks give on the way.

    The encoder has one norm, after its last block, and it is made for that block's tokens. Inner
    levels are given as they are in the residual stream; who reads them norms them.

    Args:
        vit: The encoder, with N patches.
        images: (B, C, H, W).
        keep: (B, K) indices of the visible patches.
        levels: Inner blocks, counted from 1.

    Returns:
        (B, 1 + K, D) CLS and visible tokens, by number of the block: those of the last block,
        after the last norm, and those asked for.
    """
    tokens = embed_visible(vit, images, keep)
    found = {}
    for level, block in enumerate(vit.blocks, start=1):
        tokens = block(tokens)
        if level in levels:
            found[level] = tokens
    return {**found, len(vit.blocks): vit.norm(tokens)}


def embed_visible(vit: VisionTransformer, images: Tensor, keep: Tensor) -> Tensor:
    """Embed the visible patches and put CLS before them.

    Args:
        vit: The encoder, with N patches.
        images: (B, C, H, W).
        keep: (B, K) indices of the visible patches.

    Returns:
        (B, 1 + K, D), with positions.
    """
    projection = vit.patch_embed.proj
    patches = gather_tokens(patchify(images, projection.kernel_size[0]), keep)
    tokens = F.linear(patches, projection.weight.flatten(1), projection.bias)  # (B, K, D)
    assert vit.pos_embed is not None and vit.cls_token is not None
    positions = vit.pos_embed.expand(len(images), -1, -1)  # (1, 1 + N, D) -> (B, 1 + N, D)
    tokens = tokens + gather_tokens(positions[:, 1:], keep)
    cls = vit.cls_token + positions[:, :1]  # (B, 1, D)
    return vit.norm_pre(torch.cat([cls, tokens], dim=1))  # (B, 1 + K, D)
