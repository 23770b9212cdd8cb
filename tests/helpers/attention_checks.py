"""Small attentions and their inputs, for the tests of each."""

import math
from typing import Any

import torch
from torch import Tensor

from miram.models.attention.base import TokenGrid

DIM, HEADS, SIDE = 32, 4, 4


def make(config: Any, side: int = SIDE, dim: int = DIM, heads: int = HEADS, prefix: int = 1) -> Any:
    """A seeded module for a side x side grid, in evaluation mode."""
    torch.manual_seed(0)
    return config.layer(prefix, (side, side))(dim, num_heads=heads, qkv_bias=True).eval()


def tokens(side: int = SIDE, dim: int = DIM, batch: int = 2, prefix: int = 1) -> Tensor:
    """Seeded input of a layer for a side x side grid."""
    generator = torch.Generator().manual_seed(1)
    return torch.randn(batch, side * side + prefix, dim, generator=generator)


def heads(*shape: int, seed: int = 0, scale: float = 1.0) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values in float64."""
    generator = torch.Generator().manual_seed(seed)
    q, k, v = (scale * torch.randn(*shape, generator=generator).double() for _ in range(3))
    return q, k, v


def exact(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Softmax attention by its formula."""
    return ((q @ k.mT) / math.sqrt(q.shape[-1])).softmax(-1) @ v


def weights(attention: Any, grid: TokenGrid, count: int = 1, **settings: Any) -> Tensor:
    """How much each token reads of each other under some settings: (count heads, N, N)."""
    q, k, _ = heads(1, count, grid.num_tokens, 4)
    eye = torch.eye(grid.num_tokens).double().expand(1, count, -1, -1)
    matrix = attention(q, k, eye, grid, **settings)[0]
    torch.testing.assert_close(matrix.sum(-1), torch.ones(matrix.shape[:2]).double())
    return matrix
