"""The breast in a mammogram: where it is and where the chest wall lies.

Digitized films carry white strips along the border, burned-in letters and large empty
areas. Grey levels are therefore only ever measured inside the breast.
"""

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.filters import threshold_triangle
from skimage.measure import label


def grown(image: NDArray, radius: int) -> NDArray:
    """Dilation of an (h, w) image with a disk: each pixel becomes the greatest within the radius.

    Row by row from the top of the disk to its middle: since its rows only get longer, each is the
    one before grown sideways a little more. That makes some 8 x radius passes over the image,
    many times fewer than a footprint has pixels.
    """
    height, width = image.shape
    wide = np.pad(image, radius)
    row = np.pad(image, ((radius, radius), (0, 0)))  # grown sideways by `half` pixels
    result, half = image.copy(), 0
    for rise in range(radius, -1, -1):
        while (half + 1) ** 2 + rise**2 <= radius**2:
            half += 1
            for left in (radius - half, radius + half):
                np.maximum(row, wide[:, left : left + width], out=row)
        for top in (radius - rise, radius + rise):
            np.maximum(result, row[top : top + height], out=result)
    return result


def without_thin_parts(mask: NDArray[np.bool_], radius: int) -> NDArray[np.bool_]:
    """Opening with a disk: what no disk of this radius fits into is left out.

    The disk must lie inside the picture, so that a strip along the border is thin as well.
    """
    core = ~grown(~np.pad(mask, 1), radius)
    return grown(core, radius)[1:-1, 1:-1] & mask


def without_holes(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Fill what the mask encloses: the parts beside it that do not touch the border."""
    beside = label(~mask, connectivity=1)
    return ~at_border(beside)[beside]


def at_border(components: NDArray[np.integer]) -> NDArray[np.bool_]:
    """Which components of (h, w) labels touch the border: (n + 1,) bool, False for label 0."""
    touches = np.zeros(components.max() + 1, dtype=bool)
    for edge in (components[0], components[-1], components[:, 0], components[:, -1]):
        touches[edge] = True
    touches[0] = False
    return touches


Edge = Literal["left", "right"]

# Grey levels as shares of 255, to which the brightest pixel is brought.
_WHITE = 0.98 * 255  # from here on a pixel may belong to a strip
_BACKGROUND = 0.35 * 255  # empty film does not exceed it
_SHADE = 0.9 * 255  # what lies around a strip is darker, what lies around tissue is not
_STRIP_SHADE = 3  # thumbnail pixels of grey between a strip and the film beside it
_STRIP_DEPTH = 0.06  # share of the image's length; the widest strip along a border
_STRIP_STEP = 0.1 * 255  # a strip is brighter than what follows by more than this
_STRIP_LENGTH = 0.5  # share of the border along which it is
# Share of white along the border, strips left out. Of 176 real films the most is 0.17, of crops
# 0.29; of the same films inverted the least is 0.41.
_WHITE_AIR = 0.35
_DARK = 0.2 * 255
_DARKER = 0.8 * 255  # such a breast is darker than its air: of the inverted films at most 0.78
_THICK = 0.025  # share of the shorter edge; thinner foreground is a strip, a letter or noise


def breast_mask(thumbnail: NDArray) -> NDArray[np.bool_]:
    """Find the breast on a small version of a mammogram.

    The threshold is the triangle method's (Zack et al., J Histochem Cytochem 25:741, 1977).

    Args:
        thumbnail: (h, w) every n-th pixel of the image, bright where dense; some hundred each way.

    Returns:
        (h, w) True inside the breast; all True where it cannot be separated from the background,
        such as on a crop that it fills.
    """
    everything = np.ones(thumbnail.shape, dtype=bool)
    values = _eight_bits(thumbnail)
    usable = ~(_white_strips(values) | _straight_strips(values))
    if not usable.any() or np.ptp(values[usable]) == 0:
        return everything
    threshold = threshold_triangle(values[usable])
    if threshold > _BACKGROUND:
        return everything
    foreground = usable & (values > threshold)
    thick = without_thin_parts(foreground, max(2, round(_THICK * min(values.shape))))
    components = label(thick, connectivity=1)
    if components.max() == 0:
        return everything
    largest = 1 + int(np.argmax(np.bincount(components.ravel())[1:]))
    return without_holes(components == largest)


def has_white_air(thumbnail: NDArray) -> bool:
    """Whether what surrounds the breast is white, as in a picture whose grey levels are inverted.

    Args:
        thumbnail: (h, w) as of `breast_mask`.
    """
    values = _eight_bits(thumbnail)
    margin = max(1, round(_STRIP_DEPTH * min(values.shape)))
    if min(values.shape) <= 2 * margin:
        return False
    inner = values[margin:-margin, margin:-margin]
    ring = np.concatenate([inner[0], inner[-1], inner[:, 0], inner[:, -1]])
    white, black = (ring >= _SHADE).mean(), (ring <= _DARK).mean()
    rest = inner[inner < _SHADE]
    return bool(white > max(_WHITE_AIR, black) and rest.size and np.median(rest) < _DARKER)


def _eight_bits(thumbnail: NDArray) -> NDArray[np.uint8]:
    """The brightest pixel becomes 255; the triangle method uses 256 levels anyway."""
    factor = 255 / max(float(thumbnail.max()), 1e-9)
    return np.rint(thumbnail * np.float32(factor)).astype(np.uint8)


def _white_strips(values: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """White of any shape that touches the border, with the shade around it.

    White inside the breast is dense tissue and is left alone; so is white at the border that
    fades slowly, as tissue does.
    """
    white = label(values >= _WHITE, connectivity=2)
    candidates = at_border(white)
    if not candidates.any():
        return np.zeros(values.shape, dtype=bool)
    numbers = np.cumsum(candidates) * candidates  # 1, 2, ... for candidates, 0 for the others
    spread = grown(numbers.astype(np.uint16)[white], _STRIP_SHADE)
    shade = (spread > 0) & (white == 0)
    if not shade.any():
        return np.zeros(values.shape, dtype=bool)
    shaded = np.unique(spread[shade])
    around = ndimage.median(values[shade], spread[shade], shaded)
    strips = np.zeros(numbers.max() + 1, dtype=bool)
    strips[shaded] = np.asarray(around) < _SHADE
    return strips[spread]


def _straight_strips(values: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Bands of any grey along a border that end in a straight edge; tissue has none."""
    height, width = values.shape
    strips = np.zeros((height, width), dtype=bool)
    top, bottom = _strip_depth(values), _strip_depth(values[::-1])
    left, right = _strip_depth(values.T), _strip_depth(values[:, ::-1].T)
    strips[:top], strips[:, :left] = True, True
    strips[height - bottom :], strips[:, width - right :] = True, True
    return strips


def _strip_depth(values: NDArray[np.uint8]) -> int:
    """Number of rows from the top that a band takes, 0 where there is none."""
    depth = round(_STRIP_DEPTH * len(values))
    if depth == 0 or len(values) < depth + _STRIP_SHADE:
        return 0
    signed = values[: depth + _STRIP_SHADE].astype(np.int16)
    fall = signed[:depth] - signed[_STRIP_SHADE:]
    edges = np.flatnonzero((fall > _STRIP_STEP).mean(axis=1) > _STRIP_LENGTH)
    return int(edges[-1]) + _STRIP_SHADE if len(edges) else 0


def chest_wall_edge(mask: NDArray[np.bool_]) -> Edge:
    """Find the edge at which the chest wall lies: the half with more of the (h, w) breast mask.

    The file's laterality does not determine it: in CBIS-DDSM 37 % of the images are mirrored.
    """
    half = mask.shape[1] // 2
    return "left" if mask[:, :half].sum() >= mask[:, -half:].sum() else "right"
