"""One decoder: from the shared grid of tokens to pixels at its own scale."""

from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from timm.layers import LayerNorm
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from miram.configuration import Config
from miram.models.attention import AttentionConfig
from miram.models.patches import sincos_2d


class DecoderConfig(Config):
    """A decoder and its share of the loss."""

    scale: int = Field(ge=1, le=8, description="reconstructs scale times the input's side")
    attention: AttentionConfig
    depth: int = Field(8, ge=1)
    heads: int = Field(16, ge=1)
    mlp_ratio: float = Field(4.0, gt=0)
    upsampling: Literal["nearest", "bilinear"] = "nearest"
    loss_on: Literal["masked", "all"] = "masked"
    weight: float = Field(1.0, gt=0)


class Decoder(nn.Module):
    """Transformer blocks on the (s*n) x (s*n) grid, and a linear map to pixels.

    Args:
        config: Depth, heads, attention, scale s.
        dim: Width of the tokens, D.
        grid_side: Patches along each side of the encoder's input, n.
        patch_values: Values of one patch, p * p * C; p is the same at every scale.
    """

    positions: Tensor

    def __init__(self, config: DecoderConfig, dim: int, grid_side: int, patch_values: int) -> None:
        super().__init__()
        self.config = config
        side = config.scale * grid_side
        attention = config.attention.layer(num_prefix_tokens=1, grid_size=(side, side))
        self.blocks = nn.Sequential(
            *(
                Block(
                    dim,
                    config.heads,
                    config.mlp_ratio,
                    qkv_bias=True,
                    norm_layer=LayerNorm,
                    attn_layer=attention,
                )
                for _ in range(config.depth)
            )
        )
        self.norm = LayerNorm(dim)
        self.head = nn.Linear(dim, patch_values)
        self.register_buffer("positions", sincos_2d(dim, side, prefix_tokens=1), persistent=False)

    def forward(self, cls: Tensor, grid: Tensor) -> Tensor:
        """Reconstruct patches.

        Args:
            cls: (B, 1, D).
            grid: (B, n, n, D) visible and mask tokens in their places.

        Returns:
            (B, s*s*n*n, p*p*C).
        """
        tokens = torch.cat([cls, self._refine(grid)], dim=1) + self.positions
        return self.head(self.norm(self.blocks(tokens))[:, 1:])

    def _refine(self, grid: Tensor) -> Tensor:
        scale = self.config.scale
        if scale > 1 and self.config.upsampling == "bilinear":
            planes = grid.permute(0, 3, 1, 2)  # (B, n, n, D) -> (B, D, n, n)
            planes = F.interpolate(planes, scale_factor=scale, mode="bilinear", align_corners=False)
            return planes.flatten(2).transpose(1, 2)  # (B, D, s*n, s*n) -> (B, s*s*n*n, D)
        fine = grid.repeat_interleave(scale, dim=1).repeat_interleave(scale, dim=2)
        return fine.flatten(1, 2)  # (B, s*n, s*n, D) -> (B, s*s*n*n, D)
