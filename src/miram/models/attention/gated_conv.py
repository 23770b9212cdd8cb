"""Gated convolution: products before and after a long convolution on the grid, O(N·log N·D).

Zimerman and Wolf, "Multi-Dimensional Hyena for Spatial Inductive Bias", 2023, arXiv
2309.13600; Rao et al., "HorNet: Efficient High-Order Spatial Interactions with Recursive Gated
Convolutions", NeurIPS 2022, arXiv 2207.14284. With a filter h for every channel, both of

    v ⊙ (h ∗ (k ⊙ q)),    ⊙ channel by channel, ∗ over the grid.

The filter is as wide as the grid (Hyena), a small network of the offset, so that no weight depends
on N, and is applied by FFT; or it has ``kernel`` x ``kernel`` taps (HorNet), O(N·kernel²·D). What
was left out: Hyena's convolutions of q, k and v themselves, and the recursions of both, which
repeat gate and filter; filters of the network have an absolute sum of 1. Prefix tokens, which
have no place on the grid, attend to all tokens, and the mean of their k ⊙ q is added to every
convolution.
"""

from typing import Any, Literal, Self

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from miram.models.attention.base import (
    AttentionConfig,
    GridSize,
    MultiHeadAttention,
    TokenGrid,
    at_least_float32,
    from_image,
    no_autocast,
    to_image,
)
from miram.models.attention.softmax import softmax_attention


def gated_conv_attention(
    q: Tensor, k: Tensor, v: Tensor, filters: Tensor, grid: TokenGrid
) -> Tensor:
    """V ⊙ (h ∗ (k ⊙ q)) on the grid, exact attention for the prefix, in float32 at least.

    q, k, v (B, H, N, D) and filters h (H*D, rows, columns), odd sizes, their middle the token
    itself -> (B, H, N, D). Filters of (2h - 1, 2w - 1) reach everywhere.
    """
    prefix = grid.prefix
    with no_autocast(q):
        product = at_least_float32(k) * at_least_float32(q)
        image = to_image(product, grid)  # -> (B, H*D, h, w)
        mixed = convolution(image, filters.to(image.dtype))
        mixed = from_image(mixed, grid, q.shape[1])[:, :, prefix:]  # -> (B, H, T, D)
        if prefix:
            mixed = mixed + product[:, :, :prefix].mean(2, keepdim=True)
    out = v[:, :, prefix:] * mixed.to(v.dtype)
    return out if not prefix else torch.cat([softmax_attention(q[:, :, :prefix], k, v), out], 2)


def convolution(image: Tensor, filters: Tensor) -> Tensor:
    """Convolve each channel with its filter, zeros beyond: (B, C, h, w), (C, a, b) -> (B, C, h, w).

    Directly for filters that are narrower than the grid, by FFT for wide ones: the same numbers.
    """
    sides, reach = image.shape[2:], [size // 2 for size in filters.shape[1:]]
    if reach[0] < sides[0] - 1 and reach[1] < sides[1] - 1:
        flipped = filters.flip(1, 2)[:, None]  # conv2d correlates
        return F.conv2d(image, flipped, padding=(reach[0], reach[1]), groups=len(filters))
    # Twice as long as the image and circular, so that no offset of the filter meets another.
    length = [max(side + far, 2 * far + 1) for side, far in zip(sides, reach, strict=True)]
    padding = (0, length[1] - filters.shape[2], 0, length[0] - filters.shape[1])
    centered = F.pad(filters, padding).roll((-reach[0], -reach[1]), (1, 2))
    spectrum = torch.fft.rfft2(image, s=length) * torch.fft.rfft2(centered)
    return torch.fft.irfft2(spectrum, s=length)[..., : sides[0], : sides[1]]


class GlobalFilters(nn.Module):
    """Filters as wide as the grid, from a network of the offset: -> (C, 2h - 1, 2w - 1).

    Offsets are in sides of the grid. Waves of them pass one hidden layer, with a sine, and an
    exponential window whose rate is learned for every channel, from far to near at first.
    """

    offsets: Tensor

    def __init__(self, dim: int, grid_size: GridSize, waves: int = 8, hidden: int = 32) -> None:
        super().__init__()
        sides = [torch.linspace(-1, 1, 2 * side - 1) for side in grid_size]
        offsets = torch.stack(torch.meshgrid(*sides, indexing="ij"), -1)  # (2h - 1, 2w - 1, 2)
        self.register_buffer("offsets", offsets, persistent=False)
        self.waves = waves
        self.hidden = nn.Linear(2 * (2 * waves + 1), hidden)
        self.out = nn.Linear(hidden, dim)
        self.log_rate = nn.Parameter(torch.linspace(0, 4, dim))

    def forward(self) -> Tensor:
        """The filters as they are now."""
        frequency = torch.pi * torch.arange(1, self.waves + 1, device=self.offsets.device)
        phase = (self.offsets[..., None] * frequency).flatten(2)  # (2h - 1, 2w - 1, 2 * waves)
        waves = torch.cat([self.offsets, phase.sin(), phase.cos()], -1)
        window = (-self.offsets.norm(dim=-1, keepdim=True) * self.log_rate.exp()).exp()
        filters = self.out(self.hidden(waves).sin()) * window  # (2h - 1, 2w - 1, C)
        return (filters / filters.abs().sum((0, 1))).movedim(2, 0)


class GatedConvAttention(MultiHeadAttention):
    """Gated convolution for a fixed grid of tokens."""

    def __init__(
        self, dim: int, num_heads: int = 8, *, config: "GatedConvConfig", **block: Any
    ) -> None:
        super().__init__(dim, num_heads, config=config, **block)
        weight = self.qkv.weight
        self.filters: GlobalFilters | nn.Parameter
        if config.filters == "global":
            self.filters = GlobalFilters(dim, self.grid.size).to(weight)
        else:
            taps = weight.new_empty(dim, config.kernel, config.kernel)
            self.filters = nn.Parameter(nn.init.uniform_(taps, -1, 1) / config.kernel**2)

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """See :func:`gated_conv_attention`."""
        filters = self.filters
        if isinstance(filters, GlobalFilters):
            # Cheap to make again, and as large as the activations if all of it were kept.
            with no_autocast(q):
                filters = checkpoint(filters, use_reentrant=False, preserve_rng_state=False)
        return gated_conv_attention(q, k, v, filters, self.grid)


class GatedConvConfig(AttentionConfig):
    """How wide the filters are."""

    module = GatedConvAttention

    kind: Literal["gated_conv"] = "gated_conv"
    filters: Literal["global", "local"] = Field(
        "global", description="as wide as the grid, by FFT (Hyena), or of a few taps (HorNet)"
    )
    kernel: int = Field(7, ge=1, le=63, description="side of local filters, in tokens; odd")

    @model_validator(mode="after")
    def _odd(self) -> Self:
        if self.kernel % 2 == 0:
            raise ValueError(f"kernel must be odd, to have a middle: {self.kernel + 1} would be")
        return self
