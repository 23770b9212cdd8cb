"""Multi-axis attention is exact within blocks, then along the grid."""

from typing import Any

import pytest
import torch
from attention_checks import DIM, HEADS, exact, heads, weights

from miram.errors import MiramError
from miram.models.attention import MultiAxisConfig, multi_axis_attention
from miram.models.attention.base import TokenGrid
from miram.models.attention.windows.base import axis_attention


def test_window_of_the_whole_grid_is_exact_attention_twice() -> None:
    q, k, v = heads(2, 3, 17, 4)
    out = multi_axis_attention(q, k, v, window=(4, 4), grid=TokenGrid(1, (4, 4)))
    torch.testing.assert_close(out, exact(q, k, exact(q, k, v)))


@pytest.mark.parametrize(("axis", "group"), [("block", [0, 1, 4, 5]), ("grid", [0, 2, 8, 10])])
def test_a_token_attends_to_its_group_alone(axis: Any, group: list[int]) -> None:
    q, k, v = heads(1, 2, 16, 4)
    out = axis_attention(q, k, v, axis=axis, window=(2, 2), grid=TokenGrid(0, (4, 4)))
    expected = exact(q[:, :, group], k[:, :, group], v[:, :, group])
    torch.testing.assert_close(out[:, :, group], expected)


@pytest.mark.parametrize(("side", "window"), [(4, 2), (9, 3), (28, 7)])
def test_one_layer_reaches_everywhere_while_the_side_is_at_most_the_window_squared(
    side: int, window: int
) -> None:
    grid = TokenGrid(0, (side, side))
    assert (weights(multi_axis_attention, grid, window=(window, window)) > 0).all()


def test_a_side_without_divisors_is_explained() -> None:
    with pytest.raises(MiramError, match="grid side of 11"):
        MultiAxisConfig().layer(1, (11, 11))(DIM, num_heads=HEADS)
