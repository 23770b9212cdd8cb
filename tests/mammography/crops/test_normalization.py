"""From grey levels of an image to the full 16-bit range."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from pydantic import ValidationError

from miram.mammography.crops.normalization import FULL_RANGE, NormalizationConfig, to_full_range

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


def test_an_8_bit_image_fills_16_bits():
    image = np.arange(256, dtype=np.uint8).reshape(16, 16)
    low, high = NormalizationConfig(method="bits").grey_range(image.ravel(), 255)
    assert (to_full_range(image, low, high) == image.astype(np.uint16) * 257).all()


def test_the_default_clips_nothing_inside_the_breast():
    values = np.random.default_rng(0).integers(500, 40_000, 10_000)
    assert NormalizationConfig().grey_range(values, 65_535) == (values.min(), values.max())


def test_percentiles_are_those_of_the_values():
    values = np.arange(101)
    config = NormalizationConfig(low=1, high=98)
    assert config.grey_range(values, 255) == (1.0, 98.0)


def test_fixed_levels_stand_as_given():
    config = NormalizationConfig(method="fixed", low=100, high=4000)
    assert config.grey_range(np.array([7, 9]), 4095) == (100, 4000)


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
