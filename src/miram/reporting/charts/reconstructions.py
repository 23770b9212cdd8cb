"""Reconstructions of one crop by all methods, and how near to the target they are."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from skimage.metrics import structural_similarity

from miram.reporting.charts.images import data_uri

Arrays = Mapping[str, NDArray[np.uint8]]

_SIZE = 176  # pixels of a picture on the page
_OUTLINE = (255, 196, 0)


@dataclass(frozen=True)
class Spread:
    """A number over several crops: its mean, the lowest and the highest value."""

    mean: float
    lower: float
    upper: float

    @classmethod
    def of(cls, values: NDArray[np.float64]) -> "Spread":
        """The mean and the ends of (n,) values."""
        return cls(float(values.mean()), float(values.min()), float(values.max()))


@dataclass(frozen=True)
class Fidelity:
    """How near reconstructions are to their targets on the hidden patches.

    Attributes:
        crops: Number of crops.
        psnr: Peak signal-to-noise ratio in dB.
        ssim: Structural similarity (Wang et al., IEEE TIP 13:600, 2004).
    """

    crops: int
    psnr: Spread
    ssim: Spread


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


def fidelity(arrays: Arrays, scale: int, grid: int) -> Fidelity | None:
    """Compare reconstructions with their targets; None where nothing was hidden.

    Arguments as `hidden_patches`.
    """
    targets, predictions = (arrays[f"scale{scale}_{part}"] for part in ("target", "prediction"))
    side = targets.shape[-1] // grid
    psnr, ssim = [], []
    hidden = hidden_patches(arrays, scale, grid)
    for target, prediction, patches in zip(targets, predictions, hidden, strict=True):
        pixels = patches.repeat(side, axis=0).repeat(side, axis=1)
        if not pixels.any():
            continue
        error = np.square(target[pixels].astype(float) - prediction[pixels]).mean()
        psnr.append(10 * np.log10(255**2 / max(error, 1e-12)))
        _, similarity = structural_similarity(target, prediction, data_range=255, full=True)
        ssim.append(similarity[pixels].mean())
    if not psnr:
        return None
    return Fidelity(len(psnr), Spread.of(np.array(psnr)), Spread.of(np.array(ssim)))


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
