"""Gated convolution is two products around a convolution, by FFT as written out."""

from typing import Any

import pytest
import torch
from attention_checks import DIM, HEADS, exact, heads, make
from pydantic import ValidationError
from torch import Tensor

from miram.models.attention import GatedConvConfig, gated_conv_attention
from miram.models.attention.base import TokenGrid
from miram.models.attention.gated_conv import convolution


def written_out(image: Tensor, filters: Tensor) -> Tensor:
    """Sum over all pairs of tokens of an image (C, h, w)."""
    (height, width), (up, left) = image.shape[1:], (size // 2 for size in filters.shape[1:])
    out = torch.zeros_like(image)
    for row in range(height):
        for column in range(width):
            for other_row in range(height):
                for other_column in range(width):
                    down, right = row - other_row + up, column - other_column + left
                    if 0 <= down <= 2 * up and 0 <= right <= 2 * left:
                        reads = filters[:, down, right] * image[:, other_row, other_column]
                        out[:, row, column] += reads
    return out


@pytest.mark.parametrize("size", [(9, 7), (3, 3), (1, 1), (13, 3), (3, 11)])
def test_convolution_by_fft_or_not_is_the_direct_sum(size: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(2, 3, 5, 4, generator=generator).double()
    filters = torch.randn(3, *size, generator=generator).double()
    expected = torch.stack([written_out(one, filters) for one in image])
    torch.testing.assert_close(convolution(image, filters), expected)


@pytest.mark.parametrize("prefix", [0, 2])
def test_equals_its_formula(prefix: int) -> None:
    q, k, v = heads(2, 3, 20 + prefix, 4)
    filters = torch.randn(12, 9, 7, generator=torch.Generator().manual_seed(0)).double()
    out = gated_conv_attention(q, k, v, filters, TokenGrid(prefix, (5, 4)))
    product = (k * q)[:, :, prefix:].mT.reshape(2, 12, 5, 4)  # channels are those of the heads
    mixed = torch.stack([written_out(one, filters) for one in product])
    mixed = mixed.reshape(2, 3, 4, 20).mT
    if prefix:
        mixed = mixed + (k * q)[:, :, :prefix].mean(2, keepdim=True)
    torch.testing.assert_close(out[:, :, prefix:], v[:, :, prefix:] * mixed)
    torch.testing.assert_close(out[:, :, :prefix], exact(q, k, v)[:, :, :prefix])


def test_global_filters_have_no_weight_that_depends_on_the_number_of_tokens() -> None:
    small, large = make(GatedConvConfig(), side=4), make(GatedConvConfig(), side=8)
    large.load_state_dict(small.state_dict())  # strict
    assert small.filters().shape == (DIM, 7, 7)
    assert large.filters().shape == (DIM, 15, 15)


def test_global_filters_reach_every_token_and_local_ones_their_kernel() -> None:
    for config, reach in ((GatedConvConfig(), 81), (GatedConvConfig(filters="local", kernel=3), 9)):
        layer: Any = make(config, side=9, prefix=0)
        q, k, v = (x.float() for x in heads(1, HEADS, 81, 8))
        k.requires_grad_()
        layer.attend(q, k, v)[0, :, 40].sum().backward()  # the middle of the grid
        assert int((k.grad.abs().sum((0, 1, 3)) > 0).sum()) == reach


def test_an_even_kernel_is_refused() -> None:
    with pytest.raises(ValidationError, match="odd"):
        GatedConvConfig(kernel=4)
