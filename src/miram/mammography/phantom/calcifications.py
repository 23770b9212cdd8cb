"""Calcifications whose type and distribution show as bright specks (BI-RADS words)."""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from skimage.morphology import convex_hull_image, disk

from miram.mammography.phantom.patch import LesionPatch, centered_grid, soft_step

REFERENCE_HEIGHT = 1280  # the pixel sizes below hold for an image of this height


@dataclass(frozen=True)
class SpeckLook:
    """How the specks of one calcification type look.

    Attributes:
        count: Range of the number of specks.
        radius: Range of radii in pixels at an image height of 1280.
        form: `disk`, `ring`, `rod`, `haze`, `cup` or `tram` (two parallel lines).
        stretch: Largest ratio of the axes; the rods' half length over radius.
        brightness: Range of brightness over the tissue, full range 1.
    """

    count: tuple[int, int]
    radius: tuple[float, float]
    form: str
    stretch: float
    brightness: tuple[float, float]


LOOKS = {
    "PUNCTATE": SpeckLook((10, 22), (0.8, 1.1), "disk", 1.1, (0.28, 0.36)),
    "AMORPHOUS": SpeckLook((12, 26), (1.6, 2.6), "haze", 1.4, (0.10, 0.16)),
    "PLEOMORPHIC": SpeckLook((18, 40), (0.6, 2.0), "disk", 2.6, (0.18, 0.45)),
    "FINE_LINEAR_BRANCHING": SpeckLook((9, 18), (0.6, 0.9), "rod", 8.0, (0.25, 0.40)),
    "ROUND_AND_REGULAR": SpeckLook((5, 12), (1.6, 2.2), "disk", 1.05, (0.30, 0.38)),
    "LUCENT_CENTER": SpeckLook((3, 7), (2.6, 4.2), "ring", 1.1, (0.32, 0.42)),
    "EGGSHELL": SpeckLook((3, 4), (4.5, 7.0), "ring", 1.15, (0.32, 0.42)),
    "COARSE": SpeckLook((3, 6), (3.5, 6.0), "disk", 1.7, (0.38, 0.50)),
    "DYSTROPHIC": SpeckLook((3, 6), (3.0, 6.0), "ring", 1.8, (0.35, 0.48)),
    "VASCULAR": SpeckLook((10, 16), (1.0, 1.4), "tram", 5.0, (0.22, 0.32)),
    "LARGE_RODLIKE": SpeckLook((3, 7), (1.8, 2.4), "rod", 6.0, (0.35, 0.45)),
    "SKIN": SpeckLook((3, 8), (1.8, 2.6), "ring", 1.05, (0.28, 0.36)),
    "MILK_OF_CALCIUM": SpeckLook((5, 10), (2.2, 3.2), "cup", 1.2, (0.28, 0.36)),
}


def draw_calcification(
    types: str,
    distributions: str,
    size: float,
    image_height: int,
    to_nipple: float,
    contrast: float,
    rng: np.random.Generator,
) -> LesionPatch:
    """Draw one group of calcifications.

    Args:
        types: Type words of CBIS-DDSM joined by hyphens; the specks take turns.
        distributions: Distribution words joined by hyphens; the specks take turns.
        size: Longer side of the mask's box in pixels.
        image_height: Height of the whole image in pixels, which scales the specks.
        to_nipple: Direction of the nipple in radians from the x axis, downwards positive.
        contrast: Factor on the specks' brightness.
        rng: Source of randomness.

    Returns:
        The specks on a patch a little larger than the lesion. The mask is the convex hull of
        the specks with a margin, as the annotators drew it.
    """
    words, spreads = types.split("-"), distributions.split("-")
    scale = image_height / REFERENCE_HEIGHT
    count = int(np.mean([rng.integers(*LOOKS[word].count, endpoint=True) for word in words]))
    if "CLUSTERED" not in spreads:
        count = int(1.5 * count)
    if "VASCULAR" in words:
        places, directions = _along_vessel(count, rng)
    else:
        places, directions = _places(count, spreads, to_nipple, rng)
    largest = scale * max(LOOKS[word].radius[1] for word in words)
    margin = min(max(0.06 * size, largest, 2.0), 0.3 * size)
    places = _fit(places, size - 2 * margin)  # (n, 2) pixels from the center

    side = int(1.3 * size) | 1
    added = np.zeros((side, side), dtype=np.float32)
    for index, ((y, x), direction) in enumerate(zip(places, directions, strict=True)):
        _add_speck(added, y, x, direction, LOOKS[words[index % len(words)]], scale, rng)
    seeds = np.zeros((side, side), dtype=bool)
    corners = np.clip(np.round(places + side / 2 - 0.5).astype(int), 0, side - 1)
    seeds[corners[:, 0], corners[:, 1]] = True
    # A hull of fewer than three separate points has no area: give every point a little one.
    hull = convex_hull_image(ndimage.binary_dilation(seeds, disk(1)))
    mask = ndimage.distance_transform_edt(~hull) <= margin - 1
    return LesionPatch(contrast * added, mask)


def _places(
    count: int, spreads: list[str], to_nipple: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Draw positions (y, x) in any unit, shape (n, 2), and directions of specks, shape (n,)."""
    line = to_nipple + rng.normal(0, 0.25)
    y, x = np.empty(count), np.empty(count)
    for index in range(count):
        spread = spreads[index % len(spreads)]
        if spread == "LINEAR":
            along, across = rng.uniform(-1, 1), rng.normal(0, 0.045)
        elif spread == "SEGMENTAL":  # a wedge with its tip towards the nipple
            along = 1 - 2 * np.sqrt(rng.uniform(0, 1))
            across = 0.38 * (1 - along) / 2 * rng.uniform(-1, 1)
        elif spread == "CLUSTERED":
            along, across = np.clip(rng.normal(0, 0.40, 2), -1, 1)
        else:  # REGIONAL fills its area, DIFFUSELY_SCATTERED is the same with fewer per area
            angle, radius = rng.uniform(-np.pi, np.pi), np.sqrt(rng.uniform(0, 1))
            along, across = radius * np.cos(angle), 0.85 * radius * np.sin(angle)
        y[index] = along * np.sin(line) + across * np.cos(line)
        x[index] = along * np.cos(line) - across * np.sin(line)
    return np.stack([y, x], 1), line + rng.normal(0, 0.5, count)


def _along_vessel(count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Place specks along an arc, each directed along it."""
    start, bend = (rng.uniform(-np.pi, np.pi), rng.choice([-1, 1]) * rng.uniform(0.6, 1.4))
    direction = start + bend * np.linspace(-0.5, 0.5, count)
    steps = np.stack([np.sin(direction), np.cos(direction)], 1)
    return np.cumsum(steps, axis=0), direction


def _fit(places: np.ndarray, size: float) -> np.ndarray:
    """Center positions and scale the longer side of their box to `size`."""
    low, high = places.min(axis=0), places.max(axis=0)
    return (places - (low + high) / 2) * (size / max(float((high - low).max()), 1e-6))


def _add_speck(
    added: np.ndarray,
    y: float,
    x: float,
    direction: float,
    look: SpeckLook,
    scale: float,
    rng: np.random.Generator,
) -> None:
    """Draw one speck into `added`, in place, keeping the brighter of speck and background."""
    radius = max(rng.uniform(*look.radius) * scale, 0.55)
    stretch = rng.uniform(1, look.stretch) if look.form in ("disk", "ring", "haze") else 1.0
    if look.form in ("disk", "ring", "haze"):
        direction = rng.uniform(-np.pi, np.pi)
    reach = radius * (look.stretch + 3)
    side = 2 * int(reach + 2) + 1
    row, column = (round(y + added.shape[0] / 2 - 0.5), round(x + added.shape[1] / 2 - 0.5))
    down, right = centered_grid(side)
    down = down - (y + added.shape[0] / 2 - 0.5 - row)
    right = right - (x + added.shape[1] / 2 - 0.5 - column)
    along = down * np.sin(direction) + right * np.cos(direction)
    across = down * np.cos(direction) - right * np.sin(direction)
    speck = rng.uniform(*look.brightness) * _profile(
        look.form, along, across, down, radius, look.stretch if stretch == 1.0 else stretch
    )
    half = side // 2
    top, left = max(row - half, 0), max(column - half, 0)
    bottom, end = (min(row + half + 1, added.shape[0]), min(column + half + 1, added.shape[1]))
    if top < bottom and left < end:
        inner = speck[top - row + half : bottom - row + half, left - column + half :]
        target = added[top:bottom, left:end]
        np.maximum(target, inner[:, : end - left], out=target)


def _profile(
    form: str,
    along: np.ndarray,
    across: np.ndarray,
    down: np.ndarray,
    radius: float,
    stretch: float,
) -> np.ndarray:
    """Give the brightness of a speck of unit height."""
    if form in ("rod", "tram"):
        beyond = np.maximum(np.abs(along) - radius * stretch / 2, 0)
        if form == "rod":
            return np.exp(-((np.hypot(across, beyond) / radius) ** 2))
        wall = np.abs(np.abs(across) - 1.8 * radius)
        return np.exp(-((np.hypot(wall, beyond) / (0.7 * radius)) ** 2))
    distance = np.hypot(along / np.sqrt(stretch), across * np.sqrt(stretch))
    if form == "haze":
        return np.exp(-0.7 * (distance / radius) ** 2)
    if form == "ring":
        return np.exp(-(((distance - 0.75 * radius) / max(0.3 * radius, 0.55)) ** 2)) + (
            0.25 * (distance < radius)
        )
    full = soft_step(radius - distance, 0.3)
    return full * soft_step(down, 0.4) if form == "cup" else full
