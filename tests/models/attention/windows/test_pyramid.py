"""Pyramid attention is softmax where the keys of a cell are alike."""

import pytest
import torch
from attention_checks import exact, heads, weights
from torch import Tensor

from miram.models.attention import pyramid_attention
from miram.models.attention.base import TokenGrid


def cell_of(grid: tuple[int, int], size: tuple[int, int]) -> Tensor:
    """Number of the cell of every token, (T,)."""
    row, column = torch.meshgrid(*map(torch.arange, grid), indexing="ij")
    return (row // size[0] * 100 + column // size[1]).flatten().unique(return_inverse=True)[1]


@pytest.mark.parametrize(
    ("grid", "cell", "size"), [((8, 8), 2, (2, 2)), ((7, 10), 2, (2, 2)), ((9, 8), 3, (3, 3))]
)
@pytest.mark.parametrize("cells", [1, 2])
def test_keys_that_are_alike_within_cells_give_softmax(
    grid: tuple[int, int], cell: int, size: tuple[int, int], cells: int
) -> None:
    q, k, v = heads(2, 3, 1 + grid[0] * grid[1], 4)
    number = cell_of(grid, size)
    first = torch.stack([(number == one).nonzero()[0, 0] for one in number])
    k = torch.cat([k[:, :, :1], k[:, :, 1 + first]], 2)  # its cell's first
    out = pyramid_attention(q, k, v, cell=cell, cells=cells, grid=TokenGrid(1, grid))
    torch.testing.assert_close(out, exact(q, k, v))


def test_far_tokens_are_read_through_the_mean_of_their_cell_and_near_ones_alone() -> None:
    grid = (8, 8)
    (reach,) = weights(pyramid_attention, TokenGrid(0, grid), cell=2, cells=1)
    number = cell_of(grid, (2, 2))
    corner = reach[0]  # near are the cells 0, 1, 4, 5 of 4 x 4
    for cell in range(16):
        found = corner[number == cell]
        assert len(found.unique()) == (4 if cell in (0, 1, 4, 5) else 1)


def test_gradient_of_far_tokens_is_that_of_finite_differences() -> None:
    inputs = tuple(x.requires_grad_() for x in heads(1, 1, 13, 2))

    def run(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return pyramid_attention(q, k, v, cell=1, cells=1, grid=TokenGrid(1, (3, 4)))

    assert torch.autograd.gradcheck(run, inputs)
