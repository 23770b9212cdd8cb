"""Growing, opening and filling regions: the same as the slow definitions."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from scipy import ndimage

from miram.mammography.crops.breast import grown, without_holes, without_thin_parts

MASKS = arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=24))
RADII = st.integers(0, 9)


def disk(radius: int) -> np.ndarray:
    rows, columns = np.ogrid[-radius : radius + 1, -radius : radius + 1]
    return rows**2 + columns**2 <= radius**2


@given(MASKS, RADII)
def test_a_region_grows_by_a_disk(mask, radius):
    assert (grown(mask, radius) == ndimage.binary_dilation(mask, disk(radius))).all()


@given(arrays(np.uint16, array_shapes(min_dims=2, max_dims=2, max_side=12)), RADII)
def test_labels_grow_by_a_disk_and_the_greatest_wins(labels, radius):
    expected = ndimage.grey_dilation(labels, footprint=disk(radius), mode="constant")
    assert (grown(labels, radius) == expected).all()
    assert grown(labels, radius).dtype == labels.dtype


@given(MASKS, RADII)
def test_what_no_disk_inside_the_picture_fits_into_is_thin(mask, radius):
    opened = ndimage.binary_opening(np.pad(mask, radius + 1), disk(radius))
    inside = slice(radius + 1, -radius - 1)
    assert (without_thin_parts(mask, radius) == opened[inside, inside]).all()


@given(MASKS)
def test_holes_are_filled(mask):
    assert (without_holes(mask) == ndimage.binary_fill_holes(mask)).all()
