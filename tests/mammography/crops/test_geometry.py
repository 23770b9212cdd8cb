"""Boxes, squares and cuts: exact geometry."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from miram.mammography.crops.geometry import Box, cut, shift_inside, square_around
from miram.mammography.crops.masks import lesion_box

SIZES = st.integers(1, 60)


@st.composite
def boxes_in_images(draw):
    """A box inside an image, and the image's height and width."""
    height, width = draw(SIZES), draw(SIZES)
    x0, y0 = draw(st.integers(0, width - 1)), draw(st.integers(0, height - 1))
    x1, y1 = draw(st.integers(x0 + 1, width)), draw(st.integers(y0 + 1, height))
    return Box(x0, y0, x1, y1), height, width


def contains(outer: Box, inner: Box) -> bool:
    across = outer.x0 <= inner.x0 and inner.x1 <= outer.x1
    return across and outer.y0 <= inner.y0 and inner.y1 <= outer.y1


def marked(box: Box, height: int, width: int) -> np.ndarray:
    mask = np.zeros((height, width), dtype=bool)
    mask[box.y0 : box.y1, box.x0 : box.x1] = True
    return mask


@given(boxes_in_images())
def test_the_box_of_a_rectangle_is_the_rectangle(case):
    box, height, width = case
    assert lesion_box(marked(box, height, width)) == box


def test_an_empty_mask_has_no_box():
    assert lesion_box(np.zeros((5, 5), dtype=bool)) is None


def test_small_components_do_not_widen_the_box():
    mask = marked(Box(40, 40, 80, 80), 200, 200)
    mask[5, 5] = mask[190:193, 190:193] = True  # 1 and 9 pixels beside 1,600
    assert lesion_box(mask) == Box(40, 40, 80, 80)
    assert lesion_box(mask, min_share=0.0) == Box(5, 5, 193, 193)


def test_parts_of_one_percent_count():
    mask = marked(Box(10, 10, 30, 30), 100, 100)  # 400 pixels
    mask[60, 60:65] = True  # 5 of 405 pixels
    assert lesion_box(mask) == Box(10, 10, 65, 61)


def test_pixels_that_touch_at_a_corner_belong_together():
    mask = np.eye(50, dtype=bool)
    assert lesion_box(mask, min_share=0.5) == Box(0, 0, 50, 50)


@given(boxes_in_images(), st.floats(1.0, 4.0))
def test_a_square_with_context_contains_its_box_and_is_centered_to_half_a_pixel(case, context):
    box, _, _ = case
    square = square_around(box, context)
    assert square.width == square.height == int(max(box.width, box.height) * context)
    assert contains(square, box)
    assert abs((square.x0 + square.x1) - (box.x0 + box.x1)) <= 1
    assert abs((square.y0 + square.y1) - (box.y0 + box.y1)) <= 1


@given(boxes_in_images(), st.floats(1.0, 4.0))
def test_a_shifted_square_keeps_its_size_and_its_box_and_lies_inside_where_it_fits(case, context):
    box, height, width = case
    square = square_around(box, context)
    moved = shift_inside(square, height, width)
    assert (moved.width, moved.height) == (square.width, square.height)
    assert contains(moved, box)
    if square.width <= min(height, width):
        assert contains(Box(0, 0, width, height), moved)
    if square.width > width:  # as much is missing on the left as on the right
        assert 0 <= -moved.x0 - (moved.x1 - width) <= 1


@given(boxes_in_images(), st.floats(1.0, 1.5))
def test_a_square_that_lies_inside_is_not_shifted(case, context):
    box, height, width = case
    square = square_around(box, context)
    assume(contains(Box(0, 0, width, height), square))
    assert shift_inside(square, height, width) == square


@given(boxes_in_images(), st.floats(1.0, 4.0), st.sampled_from(["shift", "zeros", "reflect"]))
def test_a_cut_has_the_shape_of_its_square_and_the_pixels_of_the_image(case, context, padding):
    box, height, width = case
    image = np.arange(1, height * width + 1, dtype=np.uint16).reshape(height, width)
    square = square_around(box, context)
    piece, outside = cut(image, square, padding)
    assert piece.shape == (square.height, square.width) and piece.dtype == image.dtype
    inside = square.clipped(height, width)
    at = np.s_[
        inside.y0 - square.y0 : inside.y1 - square.y0, inside.x0 - square.x0 : inside.x1 - square.x0
    ]
    assert (piece[at] == image[inside.y0 : inside.y1, inside.x0 : inside.x1]).all()
    assert outside == pytest.approx(1 - inside.width * inside.height / piece.size)
    if padding == "reflect":
        assert (piece > 0).all()
    else:
        assert (piece > 0).sum() == inside.width * inside.height


def test_reflection_mirrors_at_the_edge():
    piece, outside = cut(np.array([[1, 2], [3, 4]]), Box(-1, 0, 1, 2), "reflect")
    assert piece.tolist() == [[1, 1], [3, 3]] and outside == 0.5


@given(boxes_in_images(), boxes_in_images())
def test_boxes_overlap_where_they_share_a_pixel(one, other):
    (a, *_), (b, *_) = one, other
    shared = (marked(a, 60, 60) & marked(b, 60, 60)).any()
    assert a.overlaps(b) == b.overlaps(a) == shared
