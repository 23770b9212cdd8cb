"""The decoder of Hi-End-MAE, in 2-D: tokens read ever shallower levels of the encoder.

Tang et al., "Hi-End-MAE: Hierarchical encoder-driven masked autoencoders are stronger vision
learners for medical image segmentation", 2025, arXiv 2502.08347, made there for CT volumes. We
follow the paper's figure: levels 12, 9, 6 and 3 of 12.
"""

from typing import Literal, Self

from pydantic import Field, model_validator
from timm.layers import LayerNorm, Mlp
from torch import Tensor, nn

from miram.errors import MiramError
from miram.models.attention import AnyAttention, SoftmaxConfig
from miram.models.decoders.base import (
    Decoder,
    DecoderBlock,
    DecoderConfig,
    DecoderSizes,
    EncodedImage,
)
from miram.models.decoders.cross import CrossAttention, visible_positions
from miram.models.decoders.self_attention import grid_tokens, self_attention_blocks
from miram.models.images import gather_tokens, sincos_2d


class HierarchicalDecoderConfig(DecoderConfig):
    """Self-attention on the deepest level, then one block for each shallower one."""

    kind: Literal["hierarchical"] = "hierarchical"
    encoder_levels: int | tuple[int, ...] = Field(
        4,
        description="encoder blocks, counted from 1, in order read; or how many of the quarter "
        "points of the encoder's depth, the deepest first",
    )
    attention: AnyAttention = SoftmaxConfig()
    self_depth: int = Field(2, ge=1, description="blocks on the deepest level")

    @model_validator(mode="after")
    def _descending(self) -> Self:
        levels = self.encoder_levels
        if isinstance(levels, int):
            if not 2 <= levels <= 4:
                raise ValueError(f"encoder_levels must be 2, 3, 4 or a list, got {levels}")
        elif len(levels) < 2 or levels[-1] < 1 or list(levels) != sorted(set(levels), reverse=True):
            raise ValueError(f"encoder_levels must fall, down to 1 at the least: {list(levels)}")
        return self

    def levels_of(self, depth: int) -> tuple[int, ...]:
        """The levels read of an encoder of so many blocks, the deepest first.

        Raises:
            MiramError: The levels do not fit the encoder.
        """
        if isinstance(self.encoder_levels, int):
            return quarter_points(depth)[: self.encoder_levels]
        deepest = self.encoder_levels[0]
        if deepest != depth:
            fault = "does not exist" if deepest > depth else "leaves the blocks after it untrained"
            raise MiramError(
                f"encoder_levels {list(self.encoder_levels)} start at block {deepest}, which "
                f"{fault}: the encoder has {depth} blocks; begin with {depth}, or set "
                "encoder_levels to 4 for the quarter points of any depth"
            )
        return self.encoder_levels

    def build(self, sizes: DecoderSizes) -> "HierarchicalDecoder":
        """Make the decoder."""
        return HierarchicalDecoder(self, sizes)


def quarter_points(depth: int) -> tuple[int, ...]:
    """The paper's levels, scaled: 12, 9, 6, 3 of 12 blocks; fewer where there are fewer than 4."""
    count = min(4, depth)
    return tuple(depth * step // count for step in range(count, 0, -1))


class LevelBlock(DecoderBlock):
    """One level of the encoder: self-attention, reading the level, MLP.

    The level's tokens come from the encoder's residual stream, whose size grows with depth; a
    norm of their own comes before the linear map to the decoder's width.
    """

    def __init__(
        self, config: HierarchicalDecoderConfig, attention: type[nn.Module], sizes: DecoderSizes
    ) -> None:
        super().__init__()
        dim = sizes.dim
        self.norm_level = LayerNorm(sizes.encoder_dim)
        self.embed = nn.Linear(sizes.encoder_dim, dim)
        self.norm1 = LayerNorm(dim)
        self.attn = attention(dim, config.heads, qkv_bias=True)
        self.norm2 = LayerNorm(dim)
        self.cross_attn = CrossAttention(dim, config.heads)
        self.norm3 = LayerNorm(dim)
        self.mlp = Mlp(dim, int(dim * config.mlp_ratio))

    def forward(self, x: Tensor, level: Tensor, positions: Tensor) -> Tensor:
        """Refine tokens (B, P + s*s*L, D) by a level (B, P + K, E) at positions (B, P + K, D)."""
        memory = self.embed(self.norm_level(level)) + positions
        x = x + self.attn(self.norm1(x))
        x = x + self.cross_attn(self.norm2(x), memory)
        return x + self.mlp(self.norm3(x))


class HierarchicalDecoder(Decoder):
    """Visible and mask tokens as queries, the encoder's levels as what they read.

    The deepest level comes through the linear map that all decoders share.
    """

    level_positions: Tensor

    def __init__(self, config: HierarchicalDecoderConfig, sizes: DecoderSizes) -> None:
        super().__init__(config, sizes)
        self.levels = config.levels_of(sizes.encoder_depth)[1:]
        attention = config.attention.layer(sizes.prefix_tokens, self.grid_size)
        self.blocks = self_attention_blocks(config, attention, config.self_depth, sizes)
        self.level_blocks = nn.ModuleList(LevelBlock(config, attention, sizes) for _ in self.levels)
        positions = sincos_2d(sizes.dim, sizes.grid_side, sizes.prefix_tokens, step=config.scale)
        self.register_buffer("level_positions", positions, persistent=False)  # (1, P + L, D)

    def decode(self, encoded: EncodedImage, chosen: Tensor | None) -> Tensor:
        """Decode the deepest level, then read the others; drop the prefix."""
        tokens = self.blocks(grid_tokens(encoded, self.scale) + self.positions)
        positions = visible_positions(self.level_positions, encoded)
        for level, block in zip(self.levels, self.level_blocks, strict=True):
            tokens = block(tokens, encoded.levels[level], positions)
        tokens = tokens[:, self.prefix_tokens :]
        return tokens if chosen is None else gather_tokens(tokens, chosen)
