"""Pictures that travel inside a page."""

import base64
import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_GAP = 4  # transparent pixels between the images of a strip
_QUALITY = 88


def data_uri(image: Image.Image) -> str:
    """An image as a `data:` address, in WebP."""
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", quality=_QUALITY, method=4)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def strip(images: NDArray[np.uint8], largest_side: int = 160) -> Image.Image:
    """Lay out images side by side, in true grey levels.

    Args:
        images: (n, H, H) uint8.
        largest_side: Images are averaged down to this side in pixels; they are never enlarged.

    Returns:
        A grey image with transparent gaps.
    """
    side = min(images.shape[-1], largest_side)
    step = side + _GAP
    sheet = Image.new("LA", (step * len(images) - _GAP, side), (0, 0))
    for place, array in enumerate(images):
        image = Image.fromarray(array).resize((side, side), Image.Resampling.BOX)
        sheet.paste(image.convert("LA"), (place * step, 0))
    return sheet
