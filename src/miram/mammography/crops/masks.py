"""The marked pixels of one lesion, kept without the empty film around them.

A mask is as large as its mammogram, and a lesion takes about one percent of it. Only one pass
over all pixels is made, to find the part that holds the lesion.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.measure import label

from miram.mammography.crops.geometry import Box, cut
from miram.mammography.crops.pixels import area_means, resample
from miram.mammography.decoding.read import DecodedImage

_MOST_LABELS = 15  # a file with no brighter level numbers its regions; none is an edge of JPEG

_SOLID = 5  # pixels along each edge of a piece of one level, which a region has and an edge has not
_LEAST_REGION = 0.05  # share of the brightest regions' area


@dataclass(frozen=True)
class LesionMask:
    """Marked pixels of a mammogram, all of them within (h, w) `marked`, which may be empty.

    Its first pixel is column `x0` and row `y0` of the mammogram. `levels` are those of its file
    where regions have different ones.
    """

    x0: int
    y0: int
    marked: NDArray[np.bool_]
    levels: tuple[int, ...] = ()

    def box(self, min_share: float) -> Box | None:
        """Find the lesion's box in the mammogram, see `lesion_box`; None for an empty mask."""
        box = lesion_box(self.marked, min_share)
        return box and box.moved(self.x0, self.y0)

    def coverage(self, square: Box, cells: int) -> NDArray[np.uint8]:
        """How much of each of cells x cells equal cells of a square the lesion covers.

        The square shares a pixel with `marked`. (cells, cells) uint8, 255 where covered wholly.
        """
        piece, _ = cut(self.marked, square.moved(-self.x0, -self.y0), "zeros")
        share = area_means(piece, cells) if len(piece) > cells else resample(piece, cells)
        return np.rint(255 * np.clip(share, 0, 1)).astype(np.uint8)


def mask_from_box(box: Box | None) -> LesionMask:
    """A lesion that fills its box; an empty one for None."""
    if box is None:
        return LesionMask(0, 0, np.zeros((0, 0), dtype=bool))
    return LesionMask(box.x0, box.y0, np.ones((box.height, box.width), dtype=bool))


def mask_from_image(image: DecodedImage, shape: tuple[int, int]) -> LesionMask:
    """Find the marked pixels of a mask file, resized to the (rows, columns) of its mammogram.

    A pixel is marked where it is brighter than half the range, since JPEG masks hold some 16 grey
    values around the edge. A mask that nowhere is so bright has fewer levels than its file could
    hold, such as 0 and 4095 in 16 bits: half of its own brightest level counts then. Regions of a
    darker level of their own, such as 100 beside 200, are marked as well.
    """
    brightest = image.pixels.max(axis=0)
    half = _boundary(int(brightest.max()), image.max_value)
    darker = _darker_regions(image.pixels, brightest, half)
    if darker:
        half = darker[0] // 2
    columns = np.flatnonzero(brightest > half)
    if not len(columns):
        return mask_from_box(None)
    across = slice(columns[0], columns[-1] + 1)
    rows = np.flatnonzero(image.pixels[:, across].max(axis=1) > half)
    down = slice(rows[0], rows[-1] + 1)
    y0, from_rows = _taken(image.pixels.shape[0], shape[0], down)
    x0, from_columns = _taken(image.pixels.shape[1], shape[1], across)
    marked = image.pixels[np.ix_(from_rows, from_columns)] > half
    return LesionMask(x0, y0, marked, (*darker, int(brightest.max())) if darker else ())


def _boundary(brightest: int, max_value: int) -> int:
    """The level above which a pixel is marked."""
    if brightest <= _MOST_LABELS:
        return 0
    return (max_value if brightest > max_value // 2 else brightest) // 2


def _darker_regions(
    pixels: NDArray[np.unsignedinteger], brightest: NDArray[np.unsignedinteger], half: int
) -> list[int]:
    """Levels of at most `half` that fill a region, in rising order.

    Edges of JPEG and of smoothed masks have such levels, too, but no piece of one level alone; and
    a level that most of the image has is the background.
    """
    columns = np.flatnonzero(brightest)
    if not len(columns):
        return []
    piece = pixels[:, columns[0] : columns[-1] + 1]
    dark = (piece > 0) & (piece <= half)
    counts = np.bincount(piece[dark], minlength=1)
    levels = np.flatnonzero((counts >= _SOLID**2) & (counts < pixels.size // 2)).tolist()
    least = _LEAST_REGION * max([int((piece > half).sum()), *counts[levels].tolist()])
    return [level for level in levels if counts[level] >= least and _is_solid(piece == level)]


def _is_solid(region: NDArray[np.bool_]) -> bool:
    return bool(ndimage.binary_erosion(region, np.ones((_SOLID, _SOLID))).any())


def _taken(length: int, new_length: int, part: slice) -> tuple[int, NDArray[np.int64]]:
    """Pixels nearest to those of an axis of another length: first new one in `part`, all old."""
    centers = (2 * np.arange(new_length) + 1) * length // (2 * new_length)
    start, stop = np.searchsorted(centers, [part.start, part.stop])
    return int(start), centers[start:stop]


def union(masks: Sequence[LesionMask]) -> LesionMask:
    """All that is marked in any of the masks of one mammogram; at least one is given."""
    x0, y0 = min(mask.x0 for mask in masks), min(mask.y0 for mask in masks)
    ends = [(m.y0 + m.marked.shape[0] - y0, m.x0 + m.marked.shape[1] - x0) for m in masks]
    marked = np.zeros(np.max(ends, axis=0), dtype=bool)
    for mask, (y1, x1) in zip(masks, ends, strict=True):
        marked[mask.y0 - y0 : y1, mask.x0 - x0 : x1] |= mask.marked
    return LesionMask(x0, y0, marked)


def lesion_box(mask: NDArray[np.bool_], min_share: float = 0.01) -> Box | None:
    """Find the box of an (H, W) lesion mask; None for an empty mask.

    8-connected components below `min_share` of the mask's area do not count.
    """
    whole = _bounds(mask)
    if whole is None:
        return None
    # Labelling the bounding part alone is much cheaper than labelling a whole mammogram.
    components = label(mask[whole.y0 : whole.y1, whole.x0 : whole.x1], connectivity=2)
    areas = np.bincount(components.ravel())
    areas[0] = 0  # what is not marked
    large = areas >= min_share * areas.sum()
    box = _bounds(large[components])
    return box and box.moved(whole.x0, whole.y0)


def _bounds(mask: NDArray[np.bool_]) -> Box | None:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return None
    return Box(int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)
