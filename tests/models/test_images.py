import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from miram.models.images import (
    patchify,
    repeat_mask,
    sincos_2d,
    unpatchify,
)


@settings(max_examples=25, deadline=None)
@given(side=st.integers(1, 5), patch=st.integers(1, 6), channels=st.integers(1, 3))
def test_unpatchify_inverts_patchify(side, patch, channels):
    images = torch.rand(2, channels, side * patch, side * patch)
    patches = patchify(images, patch)
    assert patches.shape == (2, side * side, channels * patch * patch)
    assert torch.equal(unpatchify(patches, patch, channels), images)


def test_patches_come_row_by_row_in_the_order_of_a_convolution():
    images = torch.rand(1, 2, 12, 12)
    convolution = torch.nn.Conv2d(2, 5, kernel_size=4, stride=4)
    expected = convolution(images).flatten(2).transpose(1, 2)
    weight = convolution.weight.flatten(1)
    torch.testing.assert_close(patchify(images, 4) @ weight.T + convolution.bias, expected)


def test_repeated_mask_covers_the_same_area():
    mask = torch.tensor([[1.0, 0.0, 0.0, 1.0]])
    expected = torch.tensor([[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 1], [0, 0, 1, 1]])
    assert torch.equal(repeat_mask(mask, 2).view(4, 4), expected.float())


def test_positions_follow_the_formula_of_the_paper():
    dim, side = 16, 3
    positions = sincos_2d(dim, side, prefix_tokens=1)
    assert positions.shape == (1, 1 + side * side, dim)
    assert not positions[0, 0].any()
    for row in range(side):
        for column in range(side):
            expected = []
            for place in (column, row):
                angles = [place / 10_000 ** (i / (dim / 4)) for i in range(dim // 4)]
                expected += [np.sin(a) for a in angles] + [np.cos(a) for a in angles]
            found = positions[0, 1 + row * side + column].numpy()
            np.testing.assert_allclose(found, expected, atol=1e-6)


def test_a_width_that_four_does_not_divide_is_refused():
    with pytest.raises(ValueError, match="multiple of 4"):
        sincos_2d(6, 2)
