"""Resizing square images: exact area averages."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from miram.mammography.crops.resampling import area_means, resample

SIZES = st.tuples(st.integers(1, 40), st.integers(1, 40)).map(sorted)


def image(side: int) -> np.ndarray:
    return np.random.default_rng(side).integers(0, 65_536, (side, side)).astype(np.uint16)


@given(SIZES)
def test_shrinking_keeps_the_mean(sizes):
    new, old = sizes
    assert resample(image(old), new).mean() == pytest.approx(image(old).mean(), rel=1e-5)


@given(SIZES)
def test_a_mirrored_image_gives_the_mirrored_result(sizes):
    new, old = sizes
    mirrored = area_means(image(old)[:, ::-1], new)[:, ::-1]
    assert (mirrored == area_means(image(old), new)).all()
    assert (area_means(image(old), new) == area_means(image(old).T, new).T).all()


@given(SIZES)
def test_averages_are_exact_to_the_last_bit(sizes):
    new, old = sizes
    pixels = image(old)
    # Each pixel as a block of `new` x `new`: every cell is then a block of `old` x `old`.
    blocks = np.kron(pixels.astype(np.int64), np.ones((new, new), dtype=np.int64))
    sums = blocks.reshape(new, old, new, old).sum(axis=(1, 3))
    assert (area_means(pixels, new) == sums / old**2).all()


@given(st.integers(1, 9), st.integers(1, 9))
def test_whole_blocks_are_averaged(blocks, cells):
    pixels = image(blocks * cells)
    expected = pixels.reshape(cells, blocks, cells, blocks).mean(axis=(1, 3))
    np.testing.assert_allclose(area_means(pixels, cells), expected, rtol=1e-9)


def test_a_pixel_on_a_border_is_shared_out_by_area():
    pixels = np.tile([0.0, 0.0, 90.0, 0.0, 0.0], (5, 1))
    assert area_means(pixels, 2) == pytest.approx(np.full((2, 2), 45 / 2.5))


def test_the_own_size_keeps_the_pixels():
    assert (resample(image(32), 32) == image(32)).all()


def test_enlarging_keeps_a_constant_and_the_shape():
    assert resample(np.full((5, 5), 7, np.uint8), 16) == pytest.approx(np.full((16, 16), 7.0))
