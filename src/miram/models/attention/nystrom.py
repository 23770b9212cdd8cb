"""Nyströmformer: softmax attention through m landmarks, O(N·m).

Xiong et al., "Nyströmformer: A Nyström-Based Algorithm for Approximating Self-Attention", AAAI
2021, arXiv 2102.03902. With landmarks q̃, k̃ (means of runs of queries and keys) and all softmaxes
over rows of products divided by √D,

    softmax(q kᵀ) v  ≈  F A⁺ (B v),    F = softmax(q k̃ᵀ),  A = softmax(q̃ k̃ᵀ),  B = softmax(q̃ kᵀ).

F and B are N x m, but B v is exact attention of q̃ on (k, v), and F (·) exact attention of q on
(k̃, ·). Two fused kernels therefore give the same numbers without keeping F or B for the backward.
"""

import math
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from miram.errors import MiramError
from miram.models.attention.base import (
    AttentionConfig,
    GridSize,
    MultiHeadAttention,
    at_least_float32,
    from_image,
    no_autocast,
    to_image,
)
from miram.models.attention.softmax import softmax_attention


def segment_means(x: Tensor, segments: int, dim: int) -> Tensor:
    """Means of consecutive segments of axis ``dim`` that differ in length by one at most.

    Nothing is padded: every element counts once and every segment has an element. The first
    ``length % segments`` segments are the longer ones. More segments than elements are refused.
    """
    length = x.shape[dim]
    if segments > length:
        raise MiramError(f"{segments} landmarks for {length} tokens: ask for {length} or fewer")
    short, longer = divmod(length, segments)  # `longer` segments have short + 1 elements
    cut = longer * (short + 1)
    tail = x.narrow(dim, cut, length - cut).unflatten(dim, (-1, short)).mean(dim + 1)
    if not longer:
        return tail
    head = x.narrow(dim, 0, cut).unflatten(dim, (longer, short + 1)).mean(dim + 1)
    return torch.cat([head, tail], dim)


def grid_landmarks(x: Tensor, shape: tuple[int, int], grid_size: GridSize) -> Tensor:
    """Means of rows x columns blocks of the grid: (B, H, h*w, D) -> (B, H, rows*columns, D)."""
    image = x.unflatten(2, grid_size)  # (B, H, T, D) -> (B, H, h, w, D)
    return segment_means(segment_means(image, shape[0], 2), shape[1], 3).flatten(2, 3)


def block_shape(landmarks: int, grid_size: GridSize) -> tuple[int, int]:
    """Rows and columns of ``landmarks`` blocks, as square as whole numbers allow.

    An axis of the grid that is shorter than asked for gives one block per token. Take a square
    number for a square grid; a prime number gives strips.
    """
    height, width = grid_size
    factors = [n for n in range(1, landmarks + 1) if landmarks % n == 0]
    rows = min(factors, key=lambda n: abs(math.log((height / n) / (width / (landmarks // n)))))
    return min(rows, height), min(landmarks // rows, width)


def iterative_pinv(a: Tensor, steps: int) -> Tensor:
    """Moore-Penrose inverse by the third-order iteration of Razavi et al. (2014).

    Z ← ¼ Z (13 I - A Z (15 I - A Z (7 I - A Z))), from Z₀ = Aᵀ / (‖A‖₁ ‖A‖∞), each matrix by its
    own norms: a norm shared by the batch would couple samples and slow the others down.

    ``a`` is (..., m, m) in float32 or float64; half precision diverges.
    """
    magnitude = a.abs()
    norms = magnitude.sum(-2).amax(-1) * magnitude.sum(-1).amax(-1)  # ‖A‖₁ ‖A‖∞, (...)
    z = a.mT / norms[..., None, None]
    eye = torch.eye(a.shape[-1], dtype=a.dtype, device=a.device)
    for _ in range(steps):
        az = a @ z
        z = 0.25 * z @ (13 * eye - az @ (15 * eye - az @ (7 * eye - az)))
    return z


def nystrom_attention(
    q: Tensor, k: Tensor, v: Tensor, q_landmarks: Tensor, k_landmarks: Tensor, pinv_steps: int
) -> Tensor:
    """softmax(q k̃ᵀ) softmax(q̃ k̃ᵀ)⁺ softmax(q̃ kᵀ) v, every product divided by √D.

    With the queries and keys themselves as landmarks this is exact attention, as far as the
    pseudo-inverse has converged. The pseudo-inverse is taken in float32 whatever the autocast.

    q, k, v (B, H, N, D) and landmarks q̃, k̃ (B, H, m, D) -> (B, H, N, D).
    """
    summary = softmax_attention(q_landmarks, k, v)  # B v, (B, H, m, D)
    with no_autocast(q):
        scores = at_least_float32(q_landmarks) @ at_least_float32(k_landmarks).mT
        a = (scores * q.shape[-1] ** -0.5).softmax(-1)  # (B, H, m, m)
        # The iterations are cheap to repeat and would be half of what is kept for the backward.
        pinv = checkpoint(
            iterative_pinv, a, pinv_steps, use_reentrant=False, preserve_rng_state=False
        )
        summary = pinv @ at_least_float32(summary)  # A⁺ (B v), (B, H, m, D)
    return softmax_attention(q, k_landmarks, summary.to(v.dtype))


def convolve_sequence(v: Tensor, weight: Tensor) -> Tensor:
    """Convolve each head along its tokens, beyond whose ends there is zero: (B, H, N, D).

    `weight` is (H, K) with one kernel per head. Blocks of the sequence are multiplied by a banded
    matrix of the kernel, as oneDNN's depthwise convolution is slow: docs/decisions/023.
    """
    taps, tokens = weight.shape[1], v.shape[2]
    size = max(taps - 1, 1)  # of a block, which sees itself and the next
    count = -(-tokens // size)
    ends = (taps - 1) // 2, (count + 1) * size - tokens - (taps - 1) // 2
    blocks = F.pad(v, (0, 0, *ends)).unflatten(2, (count + 1, size))
    pairs = torch.cat([blocks[:, :, :-1], blocks[:, :, 1:]], dim=3)  # (B, H, count, 2 size, D)
    # Row after row of 2 size numbers from a period of 2 size + 1 begins one column later each.
    period = F.pad(weight, (0, 2 * size + 1 - taps)).repeat(1, size)
    band = period[:, : 2 * size * size].unflatten(1, (size, 2 * size))
    return torch.einsum("hij,bhcjd->bhcid", band, pairs).flatten(2, 3)[:, :, :tokens]


class NystromAttention(MultiHeadAttention):
    """Nyström attention for a fixed grid of tokens.

    Prefix tokens are queries and keys like all others, but enter no landmark: a CLS token averaged
    with patches would be neither. More landmarks than grid tokens become one per token.
    """

    def __init__(
        self, dim: int, num_heads: int = 8, *, config: "NystromConfig", **block: Any
    ) -> None:
        super().__init__(dim, num_heads, config=config, **block)
        self.num_landmarks = min(config.num_landmarks, math.prod(self.grid.size))
        self.blocks = block_shape(config.num_landmarks, self.grid.size)
        self.conv: nn.Conv2d | None = None
        if config.conv != "none":
            # On the sequence every head has one kernel (paper), on the grid every channel.
            on_grid = config.conv == "grid"
            channels = dim if on_grid else num_heads
            kernel = (config.conv_kernel, config.conv_kernel if on_grid else 1)
            self.conv = nn.Conv2d(
                channels, channels, kernel, padding="same", groups=channels, bias=False
            ).to(self.qkv.weight)

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """See :func:`nystrom_attention`; the convolution of the values is added."""
        q_landmarks, k_landmarks = self.landmarks(q), self.landmarks(k)
        out = nystrom_attention(q, k, v, q_landmarks, k_landmarks, self.config.pinv_steps)
        return out if self.conv is None else out + self.convolve(v, self.conv)

    def landmarks(self, x: Tensor) -> Tensor:
        """Means of grid tokens: (B, H, N, D) -> (B, H, m, D)."""
        x = x[:, :, self.grid.prefix :]
        if self.config.landmarks == "grid":
            return grid_landmarks(x, self.blocks, self.grid.size)
        return segment_means(x, self.num_landmarks, 2)  # runs in reading order

    def convolve(self, v: Tensor, conv: nn.Conv2d) -> Tensor:
        """Depthwise convolution of the values: (B, H, N, D) -> (B, H, N, D)."""
        if self.config.conv == "sequence":
            if not v.is_cpu:
                return conv(v)
            # Blocks are cheap to make again and would be two copies of the values kept.
            kernels = conv.weight.flatten(1)
            return checkpoint(
                convolve_sequence, v, kernels, use_reentrant=False, preserve_rng_state=False
            )
        image = conv(to_image(v, self.grid))  # -> (B, H*D, h, w)
        return from_image(image, self.grid, self.num_heads)


class NystromConfig(AttentionConfig):
    """Landmarks, pseudo-inverse and convolution of Nyström attention."""

    module = NystromAttention
    untrained: ClassVar[dict[str, Any]] = {"conv": "none"}

    kind: Literal["nystrom"] = "nystrom"
    num_landmarks: int = Field(64, ge=1, description="landmarks m, at most the grid's tokens")
    landmarks: Literal["sequence", "grid"] = Field(
        "sequence",
        description="means of runs of the sequence (paper) or of blocks of the grid",
    )
    pinv_steps: int = Field(6, ge=1, le=50, description="iterations of the pseudo-inverse")
    conv: Literal["sequence", "grid", "none"] = Field(
        "sequence",
        description="depthwise convolution of the values that is added to the output",
    )
    conv_kernel: int = Field(
        33,
        ge=1,
        le=129,
        description="its taps on the sequence (33: paper), its side on the grid",
    )
