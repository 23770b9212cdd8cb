"""The marked part of a mask: the same as handling the mask at full size."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from miram.mammography.crops.geometry import Box, cut
from miram.mammography.crops.masks import (
    LesionMask,
    lesion_box,
    mask_from_box,
    mask_from_image,
    union,
)
from miram.mammography.crops.pixels import area_means
from miram.mammography.decoding.read import DecodedImage

SHAPES = array_shapes(min_dims=2, max_dims=2, max_side=20)
LEVELS = arrays(np.uint8, SHAPES, elements=st.sampled_from([0, 0, 0, 0, 127, 128, 255]))


def image(pixels: np.ndarray, white: int = 255) -> DecodedImage:
    return DecodedImage(pixels, white, 8, None, ())


def full(mask: LesionMask, shape: tuple[int, int]) -> np.ndarray:
    pixels = np.zeros(shape, dtype=bool)
    height, width = mask.marked.shape
    pixels[mask.y0 : mask.y0 + height, mask.x0 : mask.x0 + width] = mask.marked
    return pixels


def nearest(pixels: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    rows, columns = (
        [int((i + 0.5) * old / new) for i in range(new)]
        for old, new in zip(pixels.shape, shape, strict=True)
    )
    return pixels[np.ix_(rows, columns)]


@given(LEVELS)
def test_pixels_above_half_are_marked_and_the_rest_is_not_kept(pixels):
    mask = mask_from_image(image(pixels), pixels.shape)
    expected = pixels > (127 if pixels.max() > 127 else 63)
    assert (full(mask, pixels.shape) == expected).all()
    if expected.any():
        edges = (mask.marked[0], mask.marked[-1], mask.marked[:, 0], mask.marked[:, -1])
        assert all(edge.any() for edge in edges)
    else:
        assert not mask.marked.size and mask.box(0.0) is None


@given(LEVELS, SHAPES)
def test_a_mask_of_another_size_is_taken_at_the_centers_of_the_pixels(pixels, shape):
    mask = mask_from_image(image(pixels), shape)
    half = 127 if pixels.max() > 127 else 63
    assert (full(mask, shape) == nearest(pixels > half, shape)).all()


@pytest.mark.parametrize(
    ("white", "levels", "marked"),
    [
        (65_535, [0, 32_767, 32_768, 65_535], [False, False, True, True]),
        (4095, [0, 2047, 2048, 4095], [False, False, True, True]),
        (1, [0, 0, 1, 1], [False, False, True, True]),
        (255, [0, 1, 2, 15], [False, True, True, True]),  # a map of labels: every region
        (65_535, [0, 1, 2, 15], [False, True, True, True]),
    ],
)
def test_half_of_the_range_of_the_file_is_the_boundary(white, levels, marked):
    pixels = np.array([levels], dtype=np.uint16)
    mask = mask_from_image(image(pixels, white), pixels.shape)
    assert full(mask, pixels.shape).tolist() == [marked]


@given(arrays(bool, SHAPES), st.sampled_from([255, 4095, 65_535]), st.data())
def test_a_mask_of_two_levels_marks_the_brighter_whatever_it_is(pixels, white, data):
    level = data.draw(st.integers(1, white))
    mask = mask_from_image(image(np.uint16(pixels) * np.uint16(level), white), pixels.shape)
    assert (full(mask, pixels.shape) == pixels).all()


@given(st.lists(LEVELS, min_size=1, max_size=3), SHAPES)
def test_masks_of_one_lesion_count_together(several, shape):
    masks = [mask_from_image(image(pixels), shape) for pixels in several]
    expected = np.any([full(mask, shape) for mask in masks], axis=0)
    assert (full(union(masks), shape) == expected).all()


@given(arrays(bool, SHAPES), st.sampled_from([0.0, 0.2]))
def test_the_box_is_that_of_the_whole_mask(pixels, share):
    mask = mask_from_image(image(pixels.astype(np.uint8)), pixels.shape)
    assert mask.box(share) == lesion_box(pixels, share)


@given(arrays(bool, SHAPES), st.integers(-3, 10), st.integers(-3, 10), st.integers(10, 24))
def test_the_coverage_is_that_of_the_whole_mask(pixels, x0, y0, side):
    pixels[0, 0] = pixels[-1, -1] = True  # any square that meets the image meets the mask
    square = Box(x0, y0, x0 + side, y0 + side)
    assume(square.overlaps(Box(0, 0, pixels.shape[1], pixels.shape[0])))
    mask = mask_from_image(image(pixels.astype(np.uint8)), pixels.shape)
    piece, _ = cut(pixels, square, "zeros")
    expected = np.rint(255 * area_means(piece, 5)).astype(np.uint8)
    assert (mask.coverage(square, 5) == expected).all()


def test_a_box_is_a_mask_filled_with_lesion():
    box = Box(3, 5, 9, 7)
    assert mask_from_box(box).box(0.5) == box
    assert (mask_from_box(box).coverage(Box(3, 3, 9, 9), 3) == [[0] * 3, [255] * 3, [0] * 3]).all()
    assert mask_from_box(None).box(0.5) is None
