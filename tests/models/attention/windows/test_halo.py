"""A query of halo attention reads its block and the halo around it, and nothing else."""

import pytest
import torch
from attention_checks import exact, heads

from miram.models.attention import halo_attention
from miram.models.attention.base import TokenGrid


@pytest.mark.parametrize("prefix", [0, 2])
@pytest.mark.parametrize("grid", [(4, 6), (5, 7)])
def test_a_halo_that_covers_the_grid_gives_softmax(grid: tuple[int, int], prefix: int) -> None:
    q, k, v = heads(2, 3, grid[0] * grid[1] + prefix, 4)
    out = halo_attention(q, k, v, window=2, halo=9, grid=TokenGrid(prefix, grid))
    torch.testing.assert_close(out, exact(q, k, v))


@pytest.mark.parametrize("grid", [(6, 6), (5, 7)])
def test_every_query_sees_its_block_and_halo_alone(grid: tuple[int, int]) -> None:
    height, width = grid
    q, k, _ = heads(1, 1, height * width + 1, 4)
    reach = halo_attention(
        q,
        k,
        torch.eye(height * width + 1).double()[None, None],  # the output is the attention matrix
        window=2,
        halo=1,
        grid=TokenGrid(1, grid),
    )[0, 0]
    row, column = (x.flatten() for x in torch.meshgrid(*map(torch.arange, grid), indexing="ij"))
    near = torch.ones(height * width, height * width, dtype=torch.bool)
    for at in (row, column):
        first = at // 2 * 2  # of the block of the query
        near &= (at >= first[:, None] - 1) & (at <= first[:, None] + 2)
    assert torch.equal(reach[1:, 1:] > 0, near)
    assert (reach[0] > 0).all()  # the prefix reads all, and is read by all
    assert (reach[:, 0] > 0).all()
    torch.testing.assert_close(reach.sum(1), torch.ones(len(reach)).double())
