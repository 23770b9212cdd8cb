"""Pixels of a crop: exact area averages, and the full 16-bit range."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from pydantic import ValidationError

from miram.mammography.crops.pixels import (
    FULL_RANGE,
    NormalizationConfig,
    area_means,
    resample,
    to_full_range,
)

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


def test_the_own_size_keeps_the_pixels():
    assert (resample(image(32), 32) == image(32)).all()


def test_enlarging_keeps_a_constant_and_the_shape():
    assert resample(np.full((5, 5), 7, np.uint8), 16) == pytest.approx(np.full((16, 16), 7.0))


IMAGES = arrays(np.uint16, array_shapes(min_dims=2, max_dims=2, max_side=8))
LEVELS = st.tuples(st.integers(0, 60_000), st.integers(1, 60_000)).map(lambda t: (t[0], sum(t)))


@given(IMAGES, LEVELS)
def test_black_and_white_level_become_the_ends_of_the_range(image, levels):
    low, high = levels
    scaled = to_full_range(image, low, high)
    assert scaled.dtype == np.uint16 and scaled.shape == image.shape
    assert (scaled[image <= low] == 0).all() and (scaled[image >= high] == FULL_RANGE).all()


@given(IMAGES, LEVELS)
def test_a_brighter_pixel_never_becomes_darker(image, levels):
    scaled = to_full_range(image, *levels).ravel()
    order = np.argsort(image.ravel(), kind="stable")
    assert (np.diff(scaled[order].astype(int)) >= 0).all()


@given(IMAGES)
def test_the_whole_range_of_the_file_keeps_16_bit_pixels(image):
    low, high = NormalizationConfig(method="bits").grey_range(image.ravel(), FULL_RANGE)
    assert (to_full_range(image, low, high) == image).all()


@pytest.mark.parametrize(
    ("options", "levels"),
    [
        ({}, (0, 100)),  # clips nothing inside the breast
        ({"low": 1, "high": 98}, (1, 98)),
        ({"method": "fixed", "low": 100, "high": 4000}, (100, 4000)),
        ({"method": "bits"}, (0, 255)),
    ],
)
def test_black_and_white_are_percentiles_the_range_of_the_file_or_fixed(options, levels):
    assert NormalizationConfig(**options).grey_range(np.arange(101), 255) == levels


def test_a_flat_image_does_not_divide_by_zero():
    low, high = NormalizationConfig().grey_range(np.full(50, 7), 255)
    assert low < high
    assert (to_full_range(np.full((2, 2), 7, np.uint8), low, high) == 0).all()


@pytest.mark.parametrize("given", [{}, {"low": 0}, {"high": 4000}])
def test_fixed_levels_must_both_be_given(given):
    with pytest.raises(ValidationError, match="the method fixed needs low and high"):
        NormalizationConfig(method="fixed", **given)


@pytest.mark.parametrize("values", [{"low": 9, "high": 9}, {"high": 101}, {"low": -1}])
def test_impossible_levels_are_refused(values):
    with pytest.raises(ValidationError):
        NormalizationConfig(**values)
