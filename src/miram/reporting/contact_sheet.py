"""Many crops on one sheet."""

import numpy as np
from PIL import Image

from miram.mammography.crop_store import CropStore

_GAP = 2  # pixels between crops


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
    step = side + _GAP
    height = step * -(-count // columns) - _GAP
    sheet = Image.new("L", (step * min(columns, count) - _GAP, height), color=255)
    for place, position in enumerate(picked):
        crop = Image.fromarray((store.crops[position] >> 8).astype(np.uint8))
        corner = (step * (place % columns), step * (place // columns))
        sheet.paste(crop.resize((side, side), Image.Resampling.LANCZOS), corner)
    return sheet
