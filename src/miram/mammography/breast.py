"""The breast in a mammogram: where it is and on which side the chest wall lies.

Digitized films carry white strips along the border, burned-in letters and large empty
areas. Grey levels are therefore only ever measured inside the breast.
"""

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.filters import threshold_triangle
from skimage.measure import label
from skimage.segmentation import expand_labels

Side = Literal["left", "right"]

_WHITE = 0.98  # share of the brightest value from which on a pixel may belong to a strip
_BACKGROUND = 0.35  # share of the brightest value that empty film does not exceed
_SHADE = 0.9  # share of the brightest value that lies around a strip, but not around tissue
_STRIP_SHADE = 3  # thumbnail pixels of grey between a strip and the film beside it
_STRIP_DEPTH = 0.06  # share of the side; the widest strip along a border
_STRIP_STEP = 0.1  # share of the brightest value by which a strip is brighter than what follows
_STRIP_LENGTH = 0.5  # share of the border along which it is
_THICK = 0.025  # share of the shorter side; thinner foreground is a strip, a letter or noise


def breast_mask(thumbnail: NDArray) -> NDArray[np.bool_]:
    """Find the breast on a small version of a mammogram.

    The threshold is the triangle method's (Zack et al., J Histochem Cytochem 25:741, 1977).

    Args:
        thumbnail: (h, w) every n-th pixel of the image, bright where dense; some hundred
            pixels along each side for a full mammogram.

    Returns:
        (h, w) True inside the breast. All True where no breast can be told from the
        background, such as on a crop that the breast fills.
    """
    values = thumbnail.astype(np.float32)
    everything = np.ones(values.shape, dtype=bool)
    usable = ~(_white_strips(values) | _straight_strips(values))
    if not usable.any() or np.ptp(values[usable]) == 0:
        return everything
    threshold = threshold_triangle(values[usable])
    if threshold > _BACKGROUND * values.max():
        return everything
    foreground = usable & (values > threshold)
    thick = _without_thin_parts(foreground, max(2, round(_THICK * min(values.shape))))
    components = label(thick, connectivity=1)
    if components.max() == 0:
        return everything
    largest = 1 + int(np.argmax(np.bincount(components.ravel())[1:]))
    return ndimage.binary_fill_holes(components == largest)


def _white_strips(values: NDArray[np.float32]) -> NDArray[np.bool_]:
    """White of any shape that touches the border, with the shade around it.

    White inside the breast is dense tissue and is left alone; so is white at the border that
    fades slowly, as tissue does.
    """
    white = label(values >= _WHITE * values.max(), connectivity=2)
    border = np.concatenate([white[0], white[-1], white[:, 0], white[:, -1]])
    candidates = np.unique(border[border > 0])
    spread = expand_labels(white, _STRIP_SHADE)
    around = ndimage.median(values, np.where(white > 0, 0, spread), candidates)
    strips = candidates[np.asarray(around) < _SHADE * values.max()]
    return np.isin(spread, strips)


def _straight_strips(values: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Bands of any grey along a border that end in a straight edge; tissue has none."""
    height, width = values.shape
    strips = np.zeros((height, width), dtype=bool)
    top, bottom = _strip_depth(values), _strip_depth(values[::-1])
    left, right = _strip_depth(values.T), _strip_depth(values[:, ::-1].T)
    strips[:top], strips[:, :left] = True, True
    strips[height - bottom :], strips[:, width - right :] = True, True
    return strips


def _strip_depth(values: NDArray[np.float32]) -> int:
    """Number of rows from the top that a band takes, 0 where there is none."""
    depth = round(_STRIP_DEPTH * len(values))
    if depth == 0 or len(values) < depth + _STRIP_SHADE:
        return 0
    fall = values[:depth] - values[_STRIP_SHADE : depth + _STRIP_SHADE]
    edges = np.flatnonzero((fall > _STRIP_STEP * values.max()).mean(axis=1) > _STRIP_LENGTH)
    return int(edges[-1]) + _STRIP_SHADE if len(edges) else 0


def _without_thin_parts(foreground: NDArray[np.bool_], radius: int) -> NDArray[np.bool_]:
    """Opening with a disk, by distances: its cost does not grow with the radius."""
    # A border of False on each side lets the opening also cut strips that touch the edge.
    padded = np.pad(foreground, 1)
    core = ndimage.distance_transform_edt(padded) > radius
    if not core.any():
        return np.zeros_like(foreground)
    return (ndimage.distance_transform_edt(~core) <= radius)[1:-1, 1:-1] & foreground


def chest_wall_side(mask: NDArray[np.bool_]) -> Side:
    """Tell on which side the chest wall lies: the side with more of the breast.

    The file's laterality does not tell: in CBIS-DDSM 37 % of the images are mirrored.

    Args:
        mask: (h, w) True inside the breast.
    """
    half = mask.shape[1] // 2
    return "left" if mask[:, :half].sum() >= mask[:, -half:].sum() else "right"
