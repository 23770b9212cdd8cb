"""Performer: the softmax kernel by positive orthogonal random features (FAVOR+), O(N·m).

Choromanski et al., "Rethinking Attention with Performers", ICLR 2021, arXiv 2009.14794.

With rows w of the projection drawn from N(0, I), exp(qᵀk) is the mean over w of
exp(wᵀq - |q|²/2) · exp(wᵀk - |k|²/2): attention becomes a product of two thin matrices.
"""

import itertools
import math
from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from miram.models.attention.base import (
    AttentionConfig,
    GridSize,
    MultiHeadAttention,
    TokenGrid,
    at_least_float32,
    bind,
    kernel_attention,
    no_autocast,
)


def orthogonal_features(features: int, dim: int, generator: torch.Generator) -> Tensor:
    """Draw rows that are each N(0, I), and orthogonal within every block of ``dim`` rows.

    Orthogonality lowers the variance and keeps the mean (section 2.4 of the paper). Gives
    (features, dim) in float32, on the CPU like the generator.
    """
    blocks = []
    for _ in range(math.ceil(features / dim)):
        q, r = torch.linalg.qr(torch.randn(dim, dim, generator=generator, dtype=torch.float64))
        blocks.append(q * r.diagonal().sign())  # the signs make q uniform over all rotations
    directions = torch.cat(blocks)[:features]  # (m, D), rows of length 1
    normals = torch.randn(features, dim, generator=generator, dtype=torch.float64)
    return (directions * normals.norm(dim=1, keepdim=True)).float()


def log_features(x: Tensor, projection: Tensor) -> Tensor:
    """Logarithm of the positive features φ of the softmax kernel, up to 1 / √m.

    For any x and y, exp(xᵀy / √D) is the expected value of mean(exp(log φ(x) + log φ(y))).
    Queries or keys (B, H, N, D) and random directions (m, D) -> (B, H, N, m).
    """
    root = x.shape[-1] ** -0.25  # each of q and k takes half of the 1 / √D
    half_norm = x.square().sum(-1, keepdim=True) * (root**2 / 2)
    return x @ (root * projection).mT - half_norm


def performer_attention(q: Tensor, k: Tensor, v: Tensor, projection: Tensor) -> Tensor:
    """φ(q) (φ(k)ᵀ v) / (φ(q) φ(k)ᵀ 1), in float32 whatever the autocast.

    The stabilizers (one per query, one per sample and head for the keys) keep the exponentials
    below 1. They cancel in the ratio, so they carry no gradient and couple no batch mates.

    q (B, H, N, D), k and v (B, H, M, D) and directions (m, D) -> (B, H, N, D), in the type of v.
    """
    with no_autocast(q):
        projection = projection.to(at_least_float32(q).dtype)
        log_q = log_features(at_least_float32(q), projection)  # (B, H, N, m)
        log_k = log_features(at_least_float32(k), projection)  # (B, H, M, m)
        phi_q = (log_q - log_q.detach().amax(-1, keepdim=True)).exp()
        phi_k = (log_k - log_k.detach().amax((-2, -1), keepdim=True)).exp()
        # Only a query whose features miss every key by e^-34 meets the floor; it then reads 0.
        return kernel_attention(phi_q, phi_k, at_least_float32(v), floor=1e-15).to(v.dtype)


class PerformerAttention(MultiHeadAttention):
    """Performer attention; any number of tokens, and equivariant to their order.

    The random projection is shared by the heads and replaced every ``redraw_every`` training
    steps, if :meth:`on_step` is called before them. Draw number i follows from ``(seed, place, i)``
    alone, with the place among the decoder's layers, so that their errors do not add up; and the
    projection is a buffer of the state dict: ranks agree, a resumed run equals an uninterrupted
    one, and evaluation is deterministic.
    """

    needs_grid = False
    projection: Tensor

    def __init__(
        self,
        dim: int,
        num_heads: int = 8,
        *,
        config: "PerformerConfig",
        places: Iterator[int],
        **block: Any,
    ) -> None:
        super().__init__(dim, num_heads, config=config, **block)
        self.place = next(places)  # among the layers of a decoder, which draw apart
        default = max(1, int(self.head_dim * math.log(self.head_dim)))
        self.features = config.features or default
        device = self.qkv.weight.device
        self.number = 0  # of the draw in use
        self.register_buffer("projection", self.draw(0).to(device))

    def draw(self, number: int) -> Tensor:
        """The projection of draw ``number``, (m, D), the same for the same seed and place."""
        entropy = (self.config.seed, self.place, number)
        mixed = np.random.SeedSequence(entropy).generate_state(1)
        generator = torch.Generator().manual_seed(int(mixed[0]))
        return orthogonal_features(self.features, self.head_dim, generator)

    def on_step(self, step: int, total: int) -> None:
        """Take a new projection when it is due, before step `step` of `total`."""
        number = step // self.config.redraw_every if self.config.redraw_every else 0
        if number != self.number:
            # Not in place: a graph that still waits for its backward keeps the old tensor.
            self.projection = self.draw(number).to(self.projection)
            self.number = number

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """See :func:`performer_attention`."""
        return performer_attention(q, k, v, self.projection)


class PerformerConfig(AttentionConfig):
    """How many random features, and how often new ones are drawn."""

    module = PerformerAttention

    kind: Literal["performer"] = "performer"
    features: int | None = Field(None, ge=1, description="random features m; null: int(D ln D)")
    redraw_every: int = Field(1000, ge=0, description="training steps between draws; 0: never")
    seed: int = Field(0, ge=0, lt=2**31, description="seed of the draws, the same on all ranks")

    def layer(self, num_prefix_tokens: int, grid_size: GridSize) -> type[nn.Module]:
        """What to pass as ``attn_layer`` to timm's ``Block``; each layer made of it draws anew."""
        return bind(
            self.module,
            config=self,
            places=itertools.count(),
            grid=TokenGrid(num_prefix_tokens, grid_size),
        )
