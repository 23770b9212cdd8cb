"""The cross decoder: every patch asks the visible tokens, and no other patch.

Its cost is O(patches * visible), linear in the patches like that of a linear attention, and
exact. As no patch depends on another, any of them can be left out: `share` reconstructs a random
part in each step. At scale 1 this is the decoder of CrossMAE (Fu et al., "Rethinking Patch
Dependence for Masked Autoencoders", TMLR 2025, arXiv 2401.14391) reading the last block only.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from timm.layers import LayerNorm, Mlp
from torch import Tensor, nn

from miram.models.decoders.base import (
    Decoder,
    DecoderBlock,
    DecoderConfig,
    DecoderSizes,
    EncodedImage,
)
from miram.models.images import gather_tokens, repeat_mask, sincos_2d
from miram.models.masking import Masking


class CrossAttention(nn.Module):
    """Multi-head attention on a memory, with timm's names: ``q``, ``kv``, ``proj``."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q = nn.Linear(dim, dim)
        self.kv = nn.Linear(dim, 2 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor, memory: Tensor) -> Tensor:
        """Let tokens (B, Q, D) read a memory (B, M, D) -> (B, Q, D)."""
        q, k, v = (self._split(part) for part in (self.q(x), *self.kv(memory).chunk(2, dim=-1)))
        x = F.scaled_dot_product_attention(q, k, v)  # (B, H, Q, D/H)
        return self.proj(x.transpose(1, 2).flatten(2))  # -> (B, Q, D)

    def _split(self, tokens: Tensor) -> Tensor:
        return tokens.unflatten(2, (self.heads, -1)).transpose(1, 2)  # -> (B, H, N, D/H)


class CrossDecoderConfig(DecoderConfig):
    """Blocks of cross-attention and MLP.

    In training only patches that the loss counts are computed: with `loss_on: masked` the hidden
    ones; of these, or of all, the `share`.
    """

    kind: Literal["cross"] = "cross"
    depth: int = Field(8, ge=1, description="blocks")
    share: float = Field(1.0, gt=0, le=1, description="of the patches, drawn anew in each step")

    def noise_width(self, patches: int) -> int:
        """One number for each patch to draw from."""
        return self.scale**2 * patches if self.share < 1 else 0

    def build(self, sizes: DecoderSizes) -> "CrossDecoder":
        """Make the decoder."""
        return CrossDecoder(self, sizes)


class CrossBlock(DecoderBlock):
    """Cross-attention and MLP, each after a norm and beside a shortcut, as in timm's `Block`."""

    def __init__(self, dim: int, heads: int, mlp_ratio: float) -> None:
        super().__init__()
        self.norm1 = LayerNorm(dim)
        self.attn = CrossAttention(dim, heads)
        self.norm2 = LayerNorm(dim)
        self.mlp = Mlp(dim, int(dim * mlp_ratio))

    def forward(self, x: Tensor, memory: Tensor) -> Tensor:
        """(B, Q, D) tokens that ask, (B, M, D) tokens that are read -> (B, Q, D)."""
        x = x + self.attn(self.norm1(x), memory)
        return x + self.mlp(self.norm2(x))


class CrossDecoder(Decoder):
    """A query per patch, its position on the mask token, reads prefix and visible tokens."""

    memory_positions: Tensor

    def __init__(self, config: CrossDecoderConfig, sizes: DecoderSizes) -> None:
        super().__init__(config, sizes)
        self.share, self.loss_on = config.share, config.loss_on
        self.blocks = nn.ModuleList(
            CrossBlock(sizes.dim, config.heads, config.mlp_ratio) for _ in range(config.depth)
        )
        positions = sincos_2d(sizes.dim, sizes.grid_side, sizes.prefix_tokens, step=config.scale)
        self.register_buffer("memory_positions", positions, persistent=False)  # (1, P + L, D)

    def choose(self, masking: Masking, noise: Tensor) -> Tensor | None:
        """Draw the patches to reconstruct among those the loss counts."""
        if self.share == 1 and self.loss_on == "all":
            return None
        patches, visible = masking.mask.shape[1], masking.keep.shape[1]
        scores = noise if self.share < 1 else torch.zeros_like(self.grid_positions[:, :, 0])
        if self.loss_on == "masked":
            patches -= visible
            scores = scores + repeat_mask(masking.mask, self.scale)  # hidden ones come first
        order = scores.argsort(dim=1, descending=True, stable=True)  # (B, s*s*L)
        return order[:, : max(1, round(self.share * self.scale**2 * patches))]

    def decode(self, encoded: EncodedImage, chosen: Tensor | None) -> Tensor:
        """Let the queries read, block by block."""
        batch = len(encoded.tokens)
        places = self.grid_positions.expand(batch, -1, -1)  # (B, s*s*L, D)
        if chosen is not None:
            places = gather_tokens(places, chosen)  # (B, Q, D)
        tokens = encoded.mask_token + places
        memory = encoded.tokens + visible_positions(self.memory_positions, encoded)
        for block in self.blocks:
            tokens = block(tokens, memory)
        return tokens


def visible_positions(positions: Tensor, encoded: EncodedImage) -> Tensor:
    """Positions of the prefix and the visible tokens: (1, P + L, D) -> (B, P + K, D)."""
    prefix, keep = encoded.prefix_tokens, encoded.masking.keep
    positions = positions.expand(len(keep), -1, -1)
    return torch.cat([positions[:, :prefix], gather_tokens(positions[:, prefix:], keep)], dim=1)
