"""Pictures that travel inside a page."""

import base64
import io

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from miram.mammography.crops.store import CropStore

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


_SHEET_GAP = 2  # pixels between crops


def contact_sheet(store: CropStore, columns: int, rows: int, side: int = 96) -> Image.Image:
    """Lay out lesions evenly taken from a store.

    Args:
        store: The crop store; one without lesions shows its background patches.
        columns: Crops side by side.
        rows: Crops one below the other.
        side: Side of a crop on the sheet in pixels.

    Returns:
        A grey image.
    """
    lesions = np.flatnonzero(store.manifest["kind"] == "lesion")
    shown = lesions if len(lesions) else np.arange(len(store.manifest))
    count = min(columns * rows, len(shown))
    picked = shown[np.linspace(0, len(shown) - 1, count).round().astype(int)]
    step = side + _SHEET_GAP
    height = step * -(-count // columns) - _SHEET_GAP
    sheet = Image.new("L", (step * min(columns, count) - _SHEET_GAP, height), color=255)
    for place, position in enumerate(picked):
        crop = Image.fromarray((store.crops[position] >> 8).astype(np.uint8))
        corner = (step * (place % columns), step * (place // columns))
        sheet.paste(crop.resize((side, side), Image.Resampling.LANCZOS), corner)
    return sheet


def lesion_tile(store: CropStore, lesion: str, side: int = 112) -> str:
    """The crop of a lesion as a `data:` address.

    Args:
        store: The crop store.
        lesion: Name of the lesion.
        side: Largest side of the picture in pixels; smaller crops are not enlarged.
    """
    position = int(pd.Index(store.manifest["crop_id"]).get_loc(lesion))
    image = Image.fromarray((store.crops[position] >> 8).astype(np.uint8))
    image.thumbnail((side, side), Image.Resampling.BOX)
    return data_uri(image)
