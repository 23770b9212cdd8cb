"""What every decoder shares: what it reads, what it gives, and the way from tokens to pixels."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal

import torch
from pydantic import Field
from timm.layers import LayerNorm
from torch import Tensor, nn

from miram.configuration import Config
from miram.models.images import gather_tokens, sincos_2d
from miram.models.masking import Masking


class DecoderConfig(Config, ABC):
    """What every decoder sets: its scale, its blocks' shape, its share of the loss."""

    kind: str
    scale: int = Field(ge=1, le=8, description="reconstructs scale times the input's size")
    heads: int = Field(16, ge=1, description="of each attention")
    mlp_ratio: float = Field(4.0, gt=0, description="width of the MLP over that of the tokens")
    loss_on: Literal["masked", "all"] = Field("masked", description="which patches count")
    weight: float = Field(1.0, gt=0, description="of this decoder in the sum of losses")
    gradient_weight: float = Field(
        0.0, ge=0, description="of the gradient map beside the pixels; 0 predicts pixels only"
    )

    @property
    def label(self) -> str:
        """What tells it from the other decoders in a table of costs."""
        return self.kind

    def noise_width(self, patches: int) -> int:
        """Uniform numbers that one sample takes, for an encoder of so many patches."""
        return 0

    @abstractmethod
    def build(self, sizes: "DecoderSizes") -> "Decoder":
        """Make the decoder with fresh weights; a MiramError says where it does not fit."""


@dataclass(frozen=True)
class DecoderSizes:
    """What a decoder must fit.

    Attributes:
        dim: Width of the decoders' tokens, D.
        prefix_tokens: CLS and the registers of the encoder, P.
        grid_side: Patches along each side of the encoder's input, n.
        patch_values: Values of one patch, p * p * C; p is the same at every scale.
        encoder_dim: Width of the encoder's tokens, E.
        encoder_depth: Blocks of the encoder.
    """

    dim: int
    prefix_tokens: int
    grid_side: int
    patch_values: int
    encoder_dim: int
    encoder_depth: int


@dataclass(frozen=True)
class EncodedImage:
    """What decoders may read of a batch of images.

    Attributes:
        tokens: (B, P + K, D) CLS, registers and the visible tokens, in the decoders' width.
        mask_token: (1, 1, D) stands for every hidden patch.
        masking: Which patches are visible.
        levels: (B, P + K, E) the same tokens after inner blocks of the encoder, by the number of
            the block, counted from 1, before any norm.
    """

    tokens: Tensor
    mask_token: Tensor
    masking: Masking
    levels: dict[int, Tensor]

    @property
    def prefix_tokens(self) -> int:
        """CLS and registers, P."""
        return self.tokens.shape[1] - self.masking.keep.shape[1]

    def grid(self) -> Tensor:
        """Visible and mask tokens in their places: (B, n, n, D)."""
        visible, restore = self.tokens[:, self.prefix_tokens :], self.masking.restore
        hidden = restore.shape[1] - visible.shape[1]
        masks = self.mask_token.expand(len(visible), hidden, -1).to(visible.dtype)
        tokens = gather_tokens(torch.cat([visible, masks], dim=1), restore)  # (B, L, D)
        return tokens.unflatten(1, (round(restore.shape[1] ** 0.5), -1))  # -> (B, n, n, D)


@dataclass(frozen=True)
class DecodedPatches:
    """What a decoder predicts, for Q of the s*s*L patches at its scale.

    Attributes:
        pixels: (B, Q, p*p*C).
        gradients: (B, Q, p*p*C) gradient map, or None.
        chosen: (B, Q) indices of the patches; None for all of them in their order.
    """

    pixels: Tensor
    gradients: Tensor | None
    chosen: Tensor | None


class DecoderBlock(nn.Module):
    """A block whose activations can be computed again instead of kept, like timm's `Block`."""


class Decoder(nn.Module, ABC):
    """From an encoded image to patches at scale s; a subclass supplies :meth:`decode`.

    Attributes:
        levels: Encoder blocks, counted from 1, whose tokens are read beside those of the last.
        prefix_tokens: CLS and registers before the grid, P.
    """

    positions: Tensor
    levels: tuple[int, ...] = ()

    def __init__(self, config: DecoderConfig, sizes: DecoderSizes) -> None:
        super().__init__()
        self.scale = config.scale
        side = config.scale * sizes.grid_side
        self.grid_size = (side, side)
        self.prefix_tokens = sizes.prefix_tokens
        self.norm = LayerNorm(sizes.dim)
        self.head = nn.Linear(sizes.dim, sizes.patch_values)
        with_gradients = config.gradient_weight > 0
        self.gradient_head = nn.Linear(sizes.dim, sizes.patch_values) if with_gradients else None
        positions = sincos_2d(sizes.dim, side, sizes.prefix_tokens)
        self.register_buffer("positions", positions, persistent=False)  # (1, P + s*s*L, D)

    def forward(self, encoded: EncodedImage, noise: Tensor | None = None) -> DecodedPatches:
        """Predict patches.

        Args:
            encoded: What the encoder saw.
            noise: (B, noise_width) uniform, to predict what a training step needs; None to
                predict every patch.
        """
        chosen = self.choose(encoded.masking, noise) if noise is not None else None
        tokens = self.norm(self.decode(encoded, chosen))
        gradients = self.gradient_head(tokens) if self.gradient_head is not None else None
        return DecodedPatches(self.head(tokens), gradients, chosen)

    def choose(self, masking: Masking, noise: Tensor) -> Tensor | None:
        """Indices (B, Q) of the patches that a training step needs, by noise; None for all."""
        return None

    @property
    def grid_positions(self) -> Tensor:
        """Positions of the patches, without the prefix: (1, s*s*L, D)."""
        return self.positions[:, self.prefix_tokens :]

    @abstractmethod
    def decode(self, encoded: EncodedImage, chosen: Tensor | None) -> Tensor:
        """Tokens (B, Q, D) of the chosen patches (B, Q), or of all s*s*L for None."""
