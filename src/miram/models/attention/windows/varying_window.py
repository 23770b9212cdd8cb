"""Varying window attention: a context R times as wide, rescaled to the window's size, O(N·w²·D).

Yan et al., "Multi-Scale Representations by Varying Window Attention for Semantic Segmentation",
ICLR 2024, arXiv 2404.16573. The queries of a w x w window read a context of R·w x R·w tokens
around it, each R x R of which become one key and one value:

    softmax(q k̄ᵀ / √D) v̄,    k̄, v̄: w² means over R x R tokens, of those on the grid,

so that a wider view costs no more. Windows divide the grid as evenly as can be, so w may be less
than asked for. What differs from the paper: it rescales the context by a linear map of its own,
and shifts it back where it reaches beyond the image; here means need no weights, and those without
a token are no keys. The prefix tokens, which the paper lacks, attend to all tokens and are keys and
values of every window.
"""

from typing import Literal

from pydantic import Field
from torch import Tensor

from miram.models.attention.base import AttentionConfig, MultiHeadAttention, TokenGrid
from miram.models.attention.windows.base import block_attention, even_window, surroundings, within


def varying_window_attention(
    q: Tensor, k: Tensor, v: Tensor, grid: TokenGrid, *, window: int, ratio: int
) -> Tensor:
    """Exact attention of each window to its rescaled context: (B, H, N, D) -> (B, H, N, D)."""
    block = even_window(grid.size, window)
    context = ratio * block[0], ratio * block[1]

    def rescale(x: Tensor) -> Tensor:  # (..., R*w * R*w, D) -> (..., w*w, D), sums over R x R
        cells = x.unflatten(-2, (block[0], ratio, block[1], ratio))
        return cells.sum((-4, -2)).flatten(-3, -2)

    count = rescale(within(grid.size, block, context, q.device).mT)  # (G, w*w, 1)

    def gather(x: Tensor) -> Tensor:
        sums = rescale(surroundings(x, grid.size, block, context))  # (B, H, G, w*w, D)
        return sums / count.clamp(min=1).to(x.dtype)

    return block_attention(q, k, v, grid, block, gather, count.mT > 0)


class VaryingWindowAttention(MultiHeadAttention):
    """Varying window attention for a fixed grid of tokens."""

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """See :func:`varying_window_attention`."""
        return varying_window_attention(
            q, k, v, self.grid, window=self.config.window, ratio=self.config.ratio
        )


class VaryingWindowConfig(AttentionConfig):
    """Size of the windows, and how much wider they look."""

    module = VaryingWindowAttention

    kind: Literal["varying_window"] = "varying_window"
    window: int = Field(7, ge=1, le=64, description="tokens w per side of a window, at most")
    ratio: int = Field(2, ge=1, le=16, description="sides R of the context, in windows")
