"""Single crops as small pictures."""

import numpy as np
import pandas as pd
from PIL import Image

from miram.mammography.crop_store import CropStore
from miram.reporting.images import data_uri


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
