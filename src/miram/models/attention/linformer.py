"""Linformer: keys and values compressed along the sequence, O(N·k).

Wang et al., "Linformer: Self-Attention with Linear Complexity", 2020, arXiv 2006.04768. Its E has
a learned column for every token. Two others are fixed, so that no weight depends on N, and compress
the rows and the columns of the grid; the prefix tokens stay as they are:

    pool    means of k blocks of the grid
    dct     the lowest k frequencies of the discrete cosine transform, read at k places of the grid

The second is after Scribano et al., "DCT-Former", 2022, arXiv 2203.01178, which attends to the
coefficients themselves, along the sequence and for queries too. Transformed back at fewer places,
keys and values remain what tokens are; a smooth image is then kept exactly.
"""

import math
from typing import Any, ClassVar, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from miram.errors import MiramError
from miram.models.attention.base import AttentionConfig, MultiHeadAttention, TokenGrid
from miram.models.attention.nystrom import block_shape, segment_means
from miram.models.attention.softmax import softmax_attention


def linformer_attention(q: Tensor, k: Tensor, v: Tensor, e: Tensor, f: Tensor) -> Tensor:
    """softmax(q (E k)ᵀ / √D) (F v): exact attention on projected keys and values.

    With E = F = identity this is exact attention.

    Queries (B, H, N, D), keys and values (B, H, N, D) or (B, 1, N, D) for all heads, and
    projections E, F (k, N) -> (B, H, N, D).
    """
    short_k = compress(k, e)  # (B, kv_heads, N, D) -> (B, kv_heads, k, D)
    short_v = short_k if v is k and f is e else compress(v, f)
    size = (-1, q.shape[1], -1, -1)  # one key-value head is repeated, without a copy
    return softmax_attention(q, short_k.expand(size), short_v.expand(size))


def compress(x: Tensor, projection: Tensor) -> Tensor:
    """Project the sequence axis: (B, H, N, D) and (k, N) -> (B, H, k, D)."""
    batch, heads = x.shape[:2]
    tokens = x.transpose(1, 2).flatten(2)  # (B, H, N, D) -> (B, N, H*D), a view of timm's qkv
    # bmm takes the view as it is, where matmul would copy it and keep the copy for the backward.
    short = torch.bmm(projection.expand(batch, -1, -1), tokens)  # -> (B, k, H*D)
    return short.unflatten(2, (heads, -1)).transpose(1, 2)  # -> (B, H, k, D)


def fixed_projection(kind: Literal["dct", "pool"], length: int, grid: TokenGrid) -> Tensor:
    """The prefix and at most ``length`` tokens made of the grid: (P + k, P + T).

    The k tokens lie in rows and columns, as square as whole numbers allow; every row sums to 1.
    In float64.
    """
    shape = block_shape(length, grid.size)
    make = cosine_resampling if kind == "dct" else block_means
    rows, columns = (make(n, side) for n, side in zip(shape, grid.size, strict=True))
    return torch.block_diag(torch.eye(grid.prefix, dtype=rows.dtype), torch.kron(rows, columns))


def block_means(length: int, side: int) -> Tensor:
    """Means of runs that differ in length by one at most: (length, side)."""
    return segment_means(torch.eye(side, dtype=torch.float64), length, 0)


def cosine_resampling(length: int, side: int) -> Tensor:
    """The lowest frequencies of ``side`` values, read at ``length`` places: (length, side).

    It takes cos(π f (t + ½) / side) to cos(π f (s + ½) / length) for all f < length, and every
    higher frequency to 0.
    """
    frequency = torch.arange(length, dtype=torch.float64)[:, None]

    def cosines(count: int) -> Tensor:
        return (math.pi / count * frequency * (torch.arange(count) + 0.5)).cos()

    norms = (1 + frequency.clamp(max=1)) / side  # 1 / side for the mean, else 2 / side
    return cosines(length).T @ (norms * cosines(side))


class LinformerAttention(MultiHeadAttention):
    """Linformer attention for a fixed number of tokens, prefix included.

    E and F are shared by the heads; learned ones are Xavier-uniform at first. The defaults are the
    paper's; ``one_kv_head`` with ``share_kv`` is the weaker, smaller form that MIRAM's authors ran.
    """

    e: Tensor

    def __init__(
        self, dim: int, num_heads: int = 8, *, config: "LinformerConfig", **block: Any
    ) -> None:
        kv_heads = 1 if config.one_kv_head else num_heads
        super().__init__(
            dim, num_heads, config=config, kv_heads=kv_heads, share_kv=config.share_kv, **block
        )
        tokens, (height, width) = self.grid.num_tokens, self.grid.size
        if config.length > tokens:
            raise MiramError(
                f"linformer.length {config.length} is above the {tokens} tokens of the grid of "
                f"{height} x {width}: set it to {tokens} or less"
            )
        self.f: nn.Parameter | None = None  # F = E
        if config.projection != "learned":
            e = fixed_projection(config.projection, config.length, self.grid)
            self.register_buffer("e", e.to(self.qkv.weight), persistent=False)
            return
        empty = self.qkv.weight.new_empty(config.length, tokens)
        self.e = nn.Parameter(nn.init.xavier_uniform_(empty))
        if not (config.share_projection or config.share_kv):
            self.f = nn.Parameter(nn.init.xavier_uniform_(torch.empty_like(empty)))

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """See :func:`linformer_attention`."""
        return linformer_attention(q, k, v, self.e, self.e if self.f is None else self.f)


class LinformerConfig(AttentionConfig):
    """How far, and how shared, keys and values are compressed."""

    module = LinformerAttention
    untrained: ClassVar[dict[str, Any]] = {"projection": "pool"}

    kind: Literal["linformer"] = "linformer"
    length: int = Field(128, ge=1, description="tokens k that the N keys and values become")
    projection: Literal["learned", "dct", "pool"] = Field(
        "learned", description="E: learned (paper), or fixed: low frequencies, means of blocks"
    )
    share_projection: bool = Field(True, description="one matrix for keys and values, E = F")
    one_kv_head: bool = Field(False, description="one head of keys and values for all queries")
    share_kv: bool = Field(False, description="the values are the keys (and E = F)")

    @model_validator(mode="after")
    def _one_fixed_projection(self) -> Self:
        if self.projection != "learned" and not self.share_projection:
            raise ValueError(
                f"projection {self.projection} is the same for keys and values: leave out "
                "share_projection: false, or set projection to learned"
            )
        return self
