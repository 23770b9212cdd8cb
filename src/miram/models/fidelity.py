"""How near reconstructions are to their targets, on the patches that were hidden."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from skimage.metrics import structural_similarity

Arrays = Mapping[str, NDArray[np.uint8]]


def hidden_patches(arrays: Arrays, scale: int, grid: int) -> NDArray[np.bool_]:
    """Which patches of which crops the encoder did not see: where the target was greyed out.

    Args:
        arrays: `scale<s>_target`, `_masked`, `_prediction`: (n, H, H) uint8.
        scale: Of the pictures.
        grid: Patches per side; H is a multiple of it.

    Returns:
        (n, grid, grid).
    """
    differs = arrays[f"scale{scale}_target"] != arrays[f"scale{scale}_masked"]
    n, side = len(differs), differs.shape[-1] // grid
    return differs.reshape(n, grid, side, grid, side).any(axis=(2, 4))


def fidelity(arrays: Arrays, scale: int, grid: int) -> NDArray[np.float64]:
    """Compare reconstructions with their targets.

    Args:
        arrays: As `hidden_patches`.
        scale: Of the pictures.
        grid: Patches per side.

    Returns:
        (n, 2) peak signal-to-noise ratio in dB and structural similarity (Wang et al., IEEE TIP
        13:600, 2004) of each crop; NaN where nothing was hidden.
    """
    targets, predictions = (arrays[f"scale{scale}_{part}"] for part in ("target", "prediction"))
    side = targets.shape[-1] // grid
    found = np.full((len(targets), 2), np.nan)
    for row, patches in enumerate(hidden_patches(arrays, scale, grid)):
        pixels = patches.repeat(side, axis=0).repeat(side, axis=1)
        if not pixels.any():
            continue
        target, prediction = targets[row], predictions[row]
        error = np.square(target[pixels].astype(float) - prediction[pixels]).mean()
        _, similarity = structural_similarity(target, prediction, data_range=255, full=True)
        found[row] = 10 * np.log10(255**2 / max(error, 1e-12)), similarity[pixels].mean()
    return found
