"""Reconstructions of a crop as pictures."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from miram.reporting.charts.images import data_uri

_SIZE = 176  # pixels of a picture on the page
_OUTLINE = (255, 196, 0)


def picture(image: NDArray[np.uint8], hidden: NDArray[np.bool_] | None = None) -> str:
    """An image as a `data:` address, with the hidden patches outlined.

    Args:
        image: (H, H) uint8.
        hidden: (grid, grid); neighbors share an outline.
    """
    drawn = Image.fromarray(image).resize((_SIZE, _SIZE), Image.Resampling.NEAREST).convert("RGB")
    if hidden is not None:
        pen, step = ImageDraw.Draw(drawn), _SIZE / len(hidden)
        framed = np.pad(hidden, 1)
        for row, column in np.argwhere(framed[1:, 1:-1] != framed[:-1, 1:-1]):
            ends = [(column * step, row * step), ((column + 1) * step, row * step)]
            pen.line([(x, min(y, _SIZE - 1)) for x, y in ends], fill=_OUTLINE)
        for row, column in np.argwhere(framed[1:-1, 1:] != framed[1:-1, :-1]):
            ends = [(column * step, row * step), (column * step, (row + 1) * step)]
            pen.line([(min(x, _SIZE - 1), y) for x, y in ends], fill=_OUTLINE)
    return data_uri(drawn)
