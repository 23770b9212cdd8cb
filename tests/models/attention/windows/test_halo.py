"""A query of halo attention reads its block and the halo around it, and nothing else."""

import pytest
import torch
from attention_checks import weights

from miram.models.attention import halo_attention
from miram.models.attention.base import TokenGrid


@pytest.mark.parametrize("grid", [(6, 6), (5, 7)])
def test_every_query_sees_its_block_and_halo_alone(grid: tuple[int, int]) -> None:
    height, width = grid
    (reach,) = weights(halo_attention, TokenGrid(1, grid), window=2, halo=1)
    row, column = (x.flatten() for x in torch.meshgrid(*map(torch.arange, grid), indexing="ij"))
    near = torch.ones(height * width, height * width, dtype=torch.bool)
    for at in (row, column):
        first = at // 2 * 2  # of the block of the query
        near &= (at >= first[:, None] - 1) & (at <= first[:, None] + 2)
    assert torch.equal(reach[1:, 1:] > 0, near)
    assert (reach[0] > 0).all()  # the prefix reads all, and is read by all
    assert (reach[:, 0] > 0).all()
