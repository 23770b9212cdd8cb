"""Pictures that travel inside a page."""

import base64
import io

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from miram.mammography.crops.store import CropStore

_SHEET_GAP = 2  # pixels between the crops of a contact sheet
_QUALITY = 88
_SIZE = 176  # pixels of a reconstruction on the page
_OUTLINE = (255, 196, 0)


def data_uri(image: Image.Image) -> str:
    """An image as a `data:` address, in WebP."""
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", quality=_QUALITY, method=4)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


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


def contact_sheet(store: CropStore, columns: int, rows: int, size: int = 96) -> Image.Image:
    """Lay out lesions evenly taken from a store, `size` pixels each, in grey.

    A store without lesions shows its background patches.
    """
    lesions = np.flatnonzero(store.manifest["kind"] == "lesion")
    shown = lesions if len(lesions) else np.arange(len(store.manifest))
    count = min(columns * rows, len(shown))
    picked = shown[np.linspace(0, len(shown) - 1, count).round().astype(int)]
    step = size + _SHEET_GAP
    height = step * -(-count // columns) - _SHEET_GAP
    sheet = Image.new("L", (step * min(columns, count) - _SHEET_GAP, height), color=255)
    for place, position in enumerate(picked):
        crop = Image.fromarray((store.crops[position] >> 8).astype(np.uint8))
        corner = (step * (place % columns), step * (place // columns))
        sheet.paste(crop.resize((size, size), Image.Resampling.LANCZOS), corner)
    return sheet


def lesion_tile(store: CropStore, lesion: str, size: int = 112) -> str:
    """The crop of a lesion as a `data:` address, of at most `size` pixels; none is enlarged."""
    position = int(pd.Index(store.manifest["crop_id"]).get_loc(lesion))
    image = Image.fromarray((store.crops[position] >> 8).astype(np.uint8))
    image.thumbnail((size, size), Image.Resampling.BOX)
    return data_uri(image)
