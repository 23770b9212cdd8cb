"""A query of neighborhood attention has kernel x kernel keys, the nearest of its remainder."""

import pytest
from attention_checks import DIM, weights

from miram.errors import MiramError
from miram.models.attention import NeighborhoodConfig, neighborhood_attention
from miram.models.attention.base import TokenGrid


def neighbors(at: int, side: int, kernel: int, dilation: int) -> list[int]:
    """Rows that a row reads, one by one as the paper tells it."""
    alike = [row for row in range(side) if row % dilation == at % dilation]
    first = min(max(alike.index(at) - kernel // 2, 0), max(len(alike) - kernel, 0))
    return alike[first : first + kernel]


@pytest.mark.parametrize(
    ("grid", "kernel", "dilation"),
    [((6, 8), 3, 1), ((6, 8), 3, 2), ((8, 8), 4, 2), ((9, 6), 5, 3), ((11, 13), 5, 1)],
)
def test_every_query_has_its_nearest_keys_alone(
    grid: tuple[int, int], kernel: int, dilation: int
) -> None:
    height, width = grid
    settings = {"kernel": kernel, "dilations": (1, dilation)}
    reach = weights(neighborhood_attention, TokenGrid(1, grid), 2, **settings)[1]
    for query in range(height * width):
        rows = neighbors(query // width, height, kernel, dilation)
        columns = neighbors(query % width, width, kernel, dilation)
        keys = [0, *(1 + row * width + column for row in rows for column in columns)]
        assert reach[1 + query].nonzero().flatten().tolist() == keys
    assert (reach[0] > 0).all()


def test_what_does_not_fit_is_explained() -> None:
    with pytest.raises(MiramError, match="2 does not divide the grid of 4 x 7"):
        NeighborhoodConfig().layer(1, (4, 7))(DIM, num_heads=4)
    with pytest.raises(MiramError, match="1 heads cannot share 2"):
        NeighborhoodConfig().layer(1, (4, 4))(DIM, num_heads=1)
