"""The decoder of MAE, at any scale and with any attention: all tokens attend to all tokens.

He et al., "Masked Autoencoders Are Scalable Vision Learners", CVPR 2022, arXiv 2111.06377; with a
linear attention at scale 2 it is the high-resolution branch of MIRAM, arXiv 2503.07157.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from timm.layers import LayerNorm
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from miram.models.attention import AnyAttention
from miram.models.decoders.base import Decoder, DecoderConfig, DecoderSizes, EncodedImage
from miram.models.images import gather_tokens


class SelfDecoderConfig(DecoderConfig):
    """Transformer blocks over the whole grid."""

    kind: Literal["self"] = "self"
    attention: AnyAttention
    depth: int = Field(8, ge=1, description="blocks")
    upsampling: Literal["nearest", "bilinear"] = Field(
        "nearest", description="how tokens are enlarged to the grid of the scale"
    )

    @property
    def label(self) -> str:
        """What tells it from the other decoders in a table of costs."""
        return self.attention.kind

    def build(self, sizes: DecoderSizes) -> "SelfDecoder":
        """Make the decoder."""
        return SelfDecoder(self, sizes)


class SelfDecoder(Decoder):
    """Visible and mask tokens, repeated s x s, through transformer blocks."""

    def __init__(self, config: SelfDecoderConfig, sizes: DecoderSizes) -> None:
        super().__init__(config, sizes)
        self.upsampling = config.upsampling
        attention = config.attention.layer(sizes.prefix_tokens, self.grid_size)
        self.blocks = self_attention_blocks(config, attention, config.depth, sizes)

    def decode(self, encoded: EncodedImage, chosen: Tensor | None) -> Tensor:
        """Refine the grid, attend, drop the prefix; all tokens are computed whatever is chosen."""
        tokens = grid_tokens(encoded, self.scale, self.upsampling) + self.positions
        tokens = self.blocks(tokens)[:, self.prefix_tokens :]  # (B, P + s*s*L, D) -> (B, s*s*L, D)
        return tokens if chosen is None else gather_tokens(tokens, chosen)


def self_attention_blocks(
    config: DecoderConfig, attention: type[nn.Module], depth: int, sizes: DecoderSizes
) -> nn.Sequential:
    """Transformer blocks over the prefix and the grid."""
    return nn.Sequential(
        *(
            Block(
                sizes.dim,
                config.heads,
                config.mlp_ratio,
                qkv_bias=True,
                norm_layer=LayerNorm,
                attn_layer=attention,
            )
            for _ in range(depth)
        )
    )


def grid_tokens(
    encoded: EncodedImage, scale: int, upsampling: Literal["nearest", "bilinear"] = "nearest"
) -> Tensor:
    """The prefix and the grid of visible and mask tokens at scale s: (B, P + s*s*L, D)."""
    grid = encoded.grid()  # (B, n, n, D)
    if scale > 1 and upsampling == "bilinear":
        planes = grid.permute(0, 3, 1, 2)  # (B, n, n, D) -> (B, D, n, n)
        planes = F.interpolate(planes, scale_factor=scale, mode="bilinear", align_corners=False)
        grid = planes.permute(0, 2, 3, 1)  # (B, D, s*n, s*n) -> (B, s*n, s*n, D)
    else:
        grid = grid.repeat_interleave(scale, dim=1).repeat_interleave(scale, dim=2)
    return torch.cat([encoded.tokens[:, : encoded.prefix_tokens], grid.flatten(1, 2)], dim=1)
