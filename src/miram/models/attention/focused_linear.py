"""Linear attention with a local concentration module (L²ViT), O(N·D).

Zheng, "The Linear Attention Resurrection in Vision Transformer", 2025, arXiv 2501.16182. Rows of
a softmax attention matrix are non-negative and concentrated; linear attention is made to have the
first property by φ = ReLU, and the second, around each token, by depthwise convolutions:

    y   = s · φ(q) (φ(k)ᵀ v) / max(φ(q) Σ φ(k), 100)     s learned per head, 1 / √D at first
    out = y + DW₂(norm(GELU(DW₁(norm(y)))))              DW: depthwise 7 x 7 on the token grid

As in the paper: ReLU, the scale, the floor of the denominator (for stable training), two 7 x 7
depthwise convolutions with GELU and a norm in between, LayerNorm before, a residual around.
What differs: the paper adds the local module to the residual stream, as a step of its own after
the output projection; an ``attn_layer`` does not see that stream, so here it acts on the merged
heads before the projection. The paper's BatchNorm is a LayerNorm over channels, because batch
statistics would couple batch mates. The paper's windowed blocks and position convolutions are no
part of this file. Prefix tokens take part in y and pass the local module by. This is not the
"focused linear attention" of FLatten (Han et al., ICCV 2023).
"""

from typing import Any, Literal

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from miram.models.attention.base import (
    AttentionConfig,
    MultiHeadAttention,
    at_least_float32,
    from_image,
    kernel_attention,
    no_autocast,
    to_image,
)


def focused_linear_attention(
    q: Tensor, k: Tensor, v: Tensor, scale: Tensor, floor: float
) -> Tensor:
    """Linear attention s · φ(q) (φ(k)ᵀ v) / max(φ(q) Σ φ(k), floor), φ = ReLU, in float32.

    q (B, H, N, D), k and v (B, H, M, D) and a scale s per head (H,) -> (B, H, N, D), typed as v.
    """
    with no_autocast(q):  # sums over all tokens overflow float16
        phi_q, phi_k = at_least_float32(q).relu(), at_least_float32(k).relu()
        out = kernel_attention(phi_q, phi_k, at_least_float32(v), floor)
        return (out * scale.to(out.dtype)[:, None, None]).to(v.dtype)


class LocalConcentration(nn.Module):
    """norm -> 7 x 7 depthwise -> GELU -> norm -> 7 x 7 depthwise, on an image of tokens."""

    def __init__(self, dim: int, kernel: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.conv1 = nn.Conv2d(dim, dim, kernel, padding="same", groups=dim)
        self.norm2 = nn.LayerNorm(dim)
        self.conv2 = nn.Conv2d(dim, dim, kernel, padding="same", groups=dim)

    def forward(self, image: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, C, h, w)."""
        image = self.conv1(over_channels(self.norm1, image))
        return self.conv2(over_channels(self.norm2, F.gelu(image)))


def over_channels(norm: nn.Module, image: Tensor) -> Tensor:
    """Normalize every position of (B, C, h, w) over its channels."""
    return norm(image.movedim(1, -1)).movedim(-1, 1)


class FocusedLinearAttention(MultiHeadAttention):
    """L²ViT's enhanced linear attention for a fixed grid of tokens."""

    def __init__(
        self, dim: int, num_heads: int = 8, *, config: "FocusedLinearConfig", **block: Any
    ) -> None:
        super().__init__(dim, num_heads, config=config, **block)
        weight = self.qkv.weight
        self.scale = nn.Parameter(weight.new_full((num_heads,), self.head_dim**-0.5))
        self.local = LocalConcentration(dim, config.kernel).to(weight)

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Linear attention, then its local concentration on the grid."""
        y = focused_linear_attention(q, k, v, self.scale, self.config.floor)
        image = to_image(y, self.grid)  # -> (B, C, h, w)
        return y + from_image(self.local(image), self.grid, self.num_heads)


class FocusedLinearConfig(AttentionConfig):
    """Denominator and convolutions of L²ViT's linear attention."""

    module = FocusedLinearAttention

    kind: Literal["focused_linear"] = "focused_linear"
    floor: float = Field(100.0, gt=0, description="smallest denominator")
    kernel: int = Field(7, ge=1, le=31, description="side of the depthwise convolutions, in tokens")
