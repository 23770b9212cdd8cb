"""Hand-crafted baselines: what a classifier makes of lesions without any learned feature.

Descriptions of a crop that are older than deep learning, evaluated by the same probe as every
encoder: an encoder that does not beat the best of them was not worth its training. `hog`, `lbp` and
`intensity` also exist as `hog_low` and so on, at the resolution that the encoder sees. `mean_grey`
shows what brightness gives away; `box_size` and `mask_shape` see no pixel at all and show what the
outline gives away. Each gives a table as `miram.evaluation.features.extract.feature_table` does.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal, Self

import numpy as np
import numpy.typing as npt
import pandas as pd
from pydantic import Field, model_validator
from scipy import stats
from skimage.feature import hog as oriented_gradients
from skimage.feature import local_binary_pattern
from skimage.measure import regionprops

from miram.configuration import Config
from miram.errors import MiramError
from miram.mammography.crops.pixels import FULL_RANGE, resample
from miram.progress import track

Array = npt.NDArray[np.float64]
Crops = npt.NDArray[np.uint16]

_HALF = 128  # a mask cell of which at least half is lesion


class HogConfig(Config):
    """Histograms of oriented gradients (Dalal & Triggs, CVPR 2005)."""

    renamed: ClassVar[dict[str, str]] = {"side": "image_size"}

    image_size: int = Field(128, ge=16, description="crops are brought to this size, pixels")
    cell: int = Field(16, ge=2, description="side of the cell of one histogram, pixels")
    block: int = Field(2, ge=1, description="cells along the side of a normalized block")
    orientations: int = Field(9, ge=2, description="bins of a histogram, over 180 degrees")

    @model_validator(mode="after")
    def _one_block_fits(self) -> Self:
        if self.cell * self.block > self.image_size:
            raise ValueError(
                f"a block of {self.block} cells of {self.cell} pixels does not fit into "
                f"{self.image_size} pixels"
            )
        return self

    def at(self, image_size: int) -> Self:
        """The same cells of crops of another size."""
        cell = max(2, self.cell * image_size // self.image_size)
        return self.model_copy(update={"image_size": image_size, "cell": cell})


class LbpConfig(Config):
    """Uniform local binary patterns, blind to rotation (Ojala et al., IEEE PAMI 24:971, 2002)."""

    renamed: ClassVar[dict[str, str]] = {"side": "image_size"}

    image_size: int = Field(128, ge=16, description="crops are brought to this size, pixels")
    radii: tuple[int, ...] = Field(
        (1, 2, 3), min_length=1, description="radii of the circles, pixels; 8 points per pixel"
    )

    @model_validator(mode="after")
    def _circles_fit(self) -> Self:
        if min(self.radii) < 1 or 2 * max(self.radii) >= self.image_size:
            raise ValueError(f"radii must be at least 1 and below half of {self.image_size} pixels")
        return self

    def at(self, image_size: int) -> Self:
        """The same radii, in pixels, on crops of another size."""
        return self.model_copy(update={"image_size": image_size})


class IntensityConfig(Config):
    """Statistics of the grey levels, 0 for black and 1 for white of the mammogram."""

    # With both, the baseline is the stronger one: lighter than its surroundings is a cue.
    regions: tuple[Literal["crop", "lesion"], ...] = Field(
        ("crop", "lesion"),
        min_length=1,
        description="where: the whole crop; the cells at least half covered by the lesion mask "
        "(the whole crop where there are none)",
    )
    percentiles: tuple[float, ...] = Field((1, 5, 25, 50, 75, 95, 99), description="0 to 100")

    @model_validator(mode="after")
    def _percentiles_exist(self) -> Self:
        if any(not 0 <= percentile <= 100 for percentile in self.percentiles):
            raise ValueError("percentiles lie between 0 and 100")
        return self


class HandcraftedConfig(Config):
    """Settings of the hand-crafted baselines."""

    hog: HogConfig = HogConfig()
    lbp: LbpConfig = LbpConfig()
    intensity: IntensityConfig = IntensityConfig()


def hog(lesion_ids: pd.Series, crops: Crops, config: HogConfig) -> pd.DataFrame:
    """Describe (n, H, H) crops by histograms of oriented gradients: edges and their directions.

    Returns:
        `lesion_id` and, with c = image_size // cell and b = block, (c - b + 1)² · b² · orientations
        features in [0, 1].
    """
    rows = [
        oriented_gradients(
            resample(crop, config.image_size) / FULL_RANGE,
            orientations=config.orientations,
            pixels_per_cell=(config.cell, config.cell),
            cells_per_block=(config.block, config.block),
        )
        for crop in track(crops, "described crops", total=len(crops))
    ]
    return _table(lesion_ids, rows)


def lbp(lesion_ids: pd.Series, crops: Crops, config: LbpConfig) -> pd.DataFrame:
    """Describe (n, H, H) crops by histograms of uniform local binary patterns: fine texture.

    Returns:
        `lesion_id` and 8 · radius + 2 frequencies per radius, summing to 1 for each.
    """
    rows = []
    for crop in track(crops, "described crops", total=len(crops)):
        # Whole numbers: rounding noise of the resampling would give flat regions a texture.
        low = np.clip(resample(crop, config.image_size), 0, FULL_RANGE)
        levels = np.rint(low).astype(np.uint16)
        rows.append(np.concatenate([_patterns(levels, radius) for radius in config.radii]))
    return _table(lesion_ids, rows)


def _patterns(levels: Crops, radius: int) -> Array:
    """Frequencies of the patterns of one radius, (8 · radius + 2,)."""
    points = 8 * radius
    codes = local_binary_pattern(levels, points, radius, method="uniform")
    # Circles that reach beyond the crop would see black there.
    inner = codes[radius:-radius, radius:-radius].astype(np.intp)
    return np.bincount(inner.ravel(), minlength=points + 2) / inner.size


def intensity(
    lesion_ids: pd.Series, crops: Crops, masks: npt.NDArray[np.uint8], config: IntensityConfig
) -> pd.DataFrame:
    """Describe (n, H, H) crops by the distribution of their grey levels, whatever their places.

    The masks are (n, h, h) lesion coverage, 255 for all of a cell; h divides H.

    Returns:
        `lesion_id` and, for each region, mean, standard deviation, skewness, excess kurtosis
        (both 0 where all pixels are alike) and the percentiles.
    """
    rows = []
    for crop, mask in track(zip(crops, masks, strict=True), "described crops", total=len(crops)):
        levels = crop.astype(np.float64) / FULL_RANGE
        parts = {"crop": levels.ravel(), "lesion": _under_mask(levels, mask)}
        rows.append(np.concatenate([_statistics(parts[name], config) for name in config.regions]))
    return _table(lesion_ids, rows)


def _under_mask(levels: Array, mask: npt.NDArray[np.uint8]) -> Array:
    size = len(levels)
    step = max(1, size // len(mask))
    inside = (mask >= _HALF).repeat(step, axis=0).repeat(step, axis=1)[:size, :size]  # -> (H, H)
    return levels[inside] if inside.any() else levels.ravel()


def _statistics(values: Array, config: IntensityConfig) -> Array:
    moments = [values.mean(), values.std(), 0.0, 0.0]
    if values.min() < values.max():
        moments[2:] = [stats.skew(values), stats.kurtosis(values)]
    return np.concatenate([moments, np.percentile(values, config.percentiles)])


def mean_grey(lesion_ids: pd.Series, crops: Crops) -> pd.DataFrame:
    """Describe crops by mean and standard deviation of their grey levels: (n, H, H) uint16.

    A method whose scores follow these has read the exposure of the film.
    """
    levels = (crop.astype(np.float64) / FULL_RANGE for crop in crops)
    return _table(lesion_ids, [np.array([one.mean(), one.std()]) for one in levels])


def mask_shape(lesion_ids: pd.Series, masks: npt.NDArray[np.uint8]) -> pd.DataFrame:
    """Describe the outlines of lesions, which a reader has drawn; no pixel is seen.

    The masks are (n, h, h) lesion coverage, 255 for all of a cell.

    Returns:
        `lesion_id` and the share of the crop that is lesion, its solidity (area over that of its
        convex hull) and its eccentricity; zeros where nothing is covered.
    """
    rows = []
    for mask in masks:
        inside = mask >= min(_HALF, max(int(mask.max()), 1))
        found = regionprops(inside.astype(np.uint8))
        shape = [found[0].solidity, found[0].eccentricity] if found else [0.0, 0.0]
        rows.append(np.array([mask.mean() / 255, *shape]))
    return _table(lesion_ids, rows)


def box_size(lesion_ids: pd.Series, boxes: npt.NDArray[np.int64]) -> pd.DataFrame:
    """Describe lesions by the logarithm of the areas of their boxes alone; no pixel is seen.

    The boxes are (n, 4) x0, y0, x1, y1 in pixels of the mammogram's file, half-open. CBIS-DDSM
    states no pixel spacing; films of its scanners differ in it by up to 15 %.

    Raises:
        MiramError: A box is empty.
    """
    sides = np.sort(boxes[:, 2:] - boxes[:, :2], axis=1)  # (n, 4) -> (n, 2), shorter side first
    empty = np.flatnonzero(sides[:, 0] < 1)
    if len(empty):
        raise MiramError(
            f"lesion {lesion_ids.iloc[empty[0]]} has an empty box {boxes[empty[0]].tolist()} in "
            "the crop manifest: cut the crops again with `kedro run --pipeline rois`"
        )
    return _table(lesion_ids, np.log(sides.astype(np.float64)).sum(axis=1))


def _table(lesion_ids: pd.Series, rows: list[Array] | Array) -> pd.DataFrame:
    values = np.asarray(rows, np.float32).reshape(len(lesion_ids), -1 if len(rows) else 0)
    table = pd.DataFrame(values, columns=[f"f{i}" for i in range(values.shape[1])])
    table.insert(0, "lesion_id", lesion_ids.to_numpy())
    return table


@dataclass(frozen=True)
class Lesions:
    """What baselines may read of n lesions.

    Attributes:
        ids: (n,) names.
        crops: (n, H, H) uint16.
        masks: (n, h, h) uint8 lesion coverage.
        boxes: (n, 4) x0, y0, x1, y1 in pixels of the mammogram, half-open.
        encoder_size: Pixels along a side of the encoder's images.
    """

    ids: pd.Series
    crops: Crops
    masks: npt.NDArray[np.uint8]
    boxes: npt.NDArray[np.int64]
    encoder_size: int

    def shrunk(self) -> Crops:
        """The crops as large as the encoder sees them."""
        low = [resample(crop, self.encoder_size) for crop in self.crops]
        levels = np.clip(np.rint(low), 0, FULL_RANGE).astype(np.uint16)
        return levels.reshape(len(self.crops), self.encoder_size, self.encoder_size)


# By the name of the baseline, one line each.
DESCRIPTIONS: dict[str, Callable[[Lesions, HandcraftedConfig], pd.DataFrame]] = {
    "hog": lambda given, config: hog(given.ids, given.crops, config.hog),
    "hog_low": lambda given, config: hog(given.ids, given.crops, config.hog.at(given.encoder_size)),
    "lbp": lambda given, config: lbp(given.ids, given.crops, config.lbp),
    "lbp_low": lambda given, config: lbp(given.ids, given.crops, config.lbp.at(given.encoder_size)),
    "intensity": lambda given, config: intensity(
        given.ids, given.crops, given.masks, config.intensity
    ),
    "intensity_low": lambda given, config: intensity(
        given.ids, given.shrunk(), given.masks, config.intensity
    ),
    "mean_grey": lambda given, _: mean_grey(given.ids, given.crops),
    "box_size": lambda given, _: box_size(given.ids, given.boxes),
    "mask_shape": lambda given, _: mask_shape(given.ids, given.masks),
}
