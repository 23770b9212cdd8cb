"""What the patches of crops add to an answer, drawn over them."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure as Sheet
from numpy.typing import NDArray

_COLUMNS = 4  # crops side by side
_SIZE = 2.2  # inches of a picture


def contribution_sheet(
    crops: NDArray[np.uint16], patches: Mapping[float, NDArray[np.float64]], answer: str
) -> Sheet:
    """Draw crops, and over each what its patches add to the logit of an answer.

    Red patches speak for the answer, blue ones against it, the more opaque the more they do. All
    crops share one scale. Patches of several central parts of a crop lie over each other.

    Args:
        crops: (n, H, H).
        patches: (n, g, g) by the share of the crop's side that they cover, around its center.
        answer: Name of the class.
    """
    most = max(float(np.abs(each).max()) for each in patches.values()) or 1.0
    columns = min(len(crops), _COLUMNS)
    rows = -(-len(crops) // columns)
    sheet = Sheet(figsize=(2 * _SIZE * columns + 1, _SIZE * rows + 0.4), layout="constrained")
    axes = sheet.subplots(rows, 2 * columns, squeeze=False)
    for axis in axes.flat:
        axis.axis("off")
    drawn: Any = None
    for place, crop in enumerate(crops):
        plain, over = axes[place // columns, 2 * (place % columns) :][:2]
        side = crop.shape[0]
        for axis in (plain, over):
            axis.imshow(crop, cmap="gray", extent=(0, side, side, 0))
        for share, each in patches.items():
            edge = (1 - share) / 2 * side
            drawn = over.imshow(
                each[place],
                cmap="RdBu_r",
                vmin=-most,
                vmax=most,
                alpha=0.7 * np.abs(each[place]) / most,
                extent=(edge, side - edge, side - edge, edge),
            )
        over.set(xlim=(0, side), ylim=(side, 0))
    sheet.colorbar(drawn, ax=axes, label=f"adds to the logit of {answer}")
    return sheet
