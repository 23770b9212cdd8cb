"""A window of varying window attention reads means of a context that is wider by its ratio."""

import pytest
import torch
from attention_checks import exact, heads

from miram.models.attention import varying_window_attention
from miram.models.attention.base import TokenGrid


@pytest.mark.parametrize(("grid", "ratio"), [((6, 6), 2), ((6, 8), 3), ((5, 7), 2), ((5, 7), 5)])
def test_keys_are_means_of_the_tokens_on_the_grid(grid: tuple[int, int], ratio: int) -> None:
    height, width = grid
    q, k, v = heads(1, 2, 1 + height * width, 4)
    out = varying_window_attention(q, k, v, window=2, ratio=ratio, grid=TokenGrid(1, grid))
    number = torch.arange(height * width).view(grid)
    for top in range(0, height, 2):
        for left in range(0, width, 2):
            queries = 1 + number[top : top + 2, left : left + 2].flatten()
            keys, values = [k[:, :, 0]], [v[:, :, 0]]
            for down in range(2):
                for right in range(2):
                    row = top - (ratio - 1) + down * ratio  # the context begins R - 1 before
                    column = left - (ratio - 1) + right * ratio
                    cell = number[max(row, 0) : max(row + ratio, 0)]
                    cell = 1 + cell[:, max(column, 0) : max(column + ratio, 0)].flatten()
                    if len(cell):
                        keys.append(k[:, :, cell].mean(2))
                        values.append(v[:, :, cell].mean(2))
            expected = exact(q[:, :, queries], torch.stack(keys, 2), torch.stack(values, 2))
            torch.testing.assert_close(out[:, :, queries], expected)
