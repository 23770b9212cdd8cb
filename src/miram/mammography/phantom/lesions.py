"""Lesions drawn alone, so that shape, margins, type and distribution show (BI-RADS words)."""

from dataclasses import dataclass

import numpy as np

from miram.mammography.phantom.breast import REFERENCE_HEIGHT, power_law_noise, soft_step

ANGLES = np.linspace(-np.pi, np.pi, 720, endpoint=False)
PATCH_SHARE = 2.4  # patch size over lesion size: room for spicules outside the mask

SOFTNESS = {  # width of the border over the lesion's size
    "CIRCUMSCRIBED": 0.010,
    "MICROLOBULATED": 0.012,
    "OBSCURED": 0.030,
    "SPICULATED": 0.045,
    "ILL_DEFINED": 0.085,
}
FAINT_SHAPES = {
    "ARCHITECTURAL_DISTORTION": 0.45,
    "FOCAL_ASYMMETRIC_DENSITY": 0.70,
    "ASYMMETRIC_BREAST_TISSUE": 0.60,
}


@dataclass(frozen=True)
class SpeckStyle:
    """Appearance of the specks of one calcification type.

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


SPECKS = {
    "PUNCTATE": SpeckStyle((10, 22), (0.8, 1.1), "disk", 1.1, (0.28, 0.36)),
    "AMORPHOUS": SpeckStyle((12, 26), (1.6, 2.6), "haze", 1.4, (0.10, 0.16)),
    "PLEOMORPHIC": SpeckStyle((18, 40), (0.6, 2.0), "disk", 2.6, (0.18, 0.45)),
    "FINE_LINEAR_BRANCHING": SpeckStyle((9, 18), (0.6, 0.9), "rod", 8.0, (0.25, 0.40)),
    "ROUND_AND_REGULAR": SpeckStyle((5, 12), (1.6, 2.2), "disk", 1.05, (0.30, 0.38)),
    "LUCENT_CENTER": SpeckStyle((3, 7), (2.6, 4.2), "ring", 1.1, (0.32, 0.42)),
    "EGGSHELL": SpeckStyle((3, 4), (4.5, 7.0), "ring", 1.15, (0.32, 0.42)),
    "COARSE": SpeckStyle((3, 6), (3.5, 6.0), "disk", 1.7, (0.38, 0.50)),
    "DYSTROPHIC": SpeckStyle((3, 6), (3.0, 6.0), "ring", 1.8, (0.35, 0.48)),
    "VASCULAR": SpeckStyle((10, 16), (1.0, 1.4), "tram", 5.0, (0.22, 0.32)),
    "LARGE_RODLIKE": SpeckStyle((3, 7), (1.8, 2.4), "rod", 6.0, (0.35, 0.45)),
    "SKIN": SpeckStyle((3, 8), (1.8, 2.6), "ring", 1.05, (0.28, 0.36)),
    "MILK_OF_CALCIUM": SpeckStyle((5, 10), (2.2, 3.2), "cup", 1.2, (0.28, 0.36)),
}


@dataclass(frozen=True)
class LesionPatch:
    """A square cut-out centered on a lesion.

    `added` is (S, S) float32 brightness added to the tissue, full range 1; `mask` (S, S) bool.
    """

    added: np.ndarray
    mask: np.ndarray


def centered_grid(length: int) -> tuple[np.ndarray, np.ndarray]:
    """Give offsets in pixels from the center of a square: down (S, 1) and to the right (1, S)."""
    offsets = (np.arange(length) - (length - 1) / 2).astype(np.float32)
    return offsets[:, None], offsets[None, :]


def overlap(
    shape: tuple[int, ...], length: int, row: int, column: int
) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Where a square of odd length, centered on a pixel, lies in an image, and which part of it."""
    half = length // 2
    top, left = max(row - half, 0), max(column - half, 0)
    bottom = max(top, min(row + half + 1, shape[0]))
    right = max(left, min(column + half + 1, shape[1]))
    down, across = half - row, half - column
    part = np.s_[top + down : bottom + down, left + across : right + across]
    return np.s_[top:bottom, left:right], part


def draw_mass(
    shapes: str, margins: str, size: float, contrast: float, rng: np.random.Generator
) -> LesionPatch:
    """Draw one mass on a patch of about 2.4 x size, the longer edge of the mask's box in pixels.

    Words of CBIS-DDSM are joined by hyphens: the first shape gives the outline, all margins show.
    `contrast` is the brightness of the center over the tissue, full range 1.
    """
    shape, margin_words = shapes.split("-")[0], margins.split("-")
    spicules = _draw_spicules(rng) if "SPICULATED" in margin_words else np.empty((0, 3))
    direction = rng.uniform(-np.pi, np.pi)
    annotated = _annotated_outline(size, direction, rng)
    outline = _outline(shape, margin_words, direction, rng)
    outline *= np.min(annotated / outline)  # as large as fits into what the annotator drew

    down, right = centered_grid(int(size * PATCH_SHARE) | 1)
    radius, angle = np.hypot(down, right), np.arctan2(down, right)
    border = np.interp(angle, ANGLES, outline, period=2 * np.pi)

    softness = size * float(np.mean([SOFTNESS[word] for word in margin_words]))
    body = soft_step(border - radius, softness)
    body *= 0.75 + 0.25 * np.clip(1 - (radius / border) ** 2, 0, 1)
    if "CIRCUMSCRIBED" in margin_words:  # the thin dark halo around a sharp border
        body -= 0.14 * np.exp(-(((radius - border) / (0.035 * size) - 1.5) ** 2))
    if "OBSCURED" in margin_words:  # part of it sinks into the tissue that overlaps it
        towards = rng.uniform(-np.pi, np.pi)
        across = (down * np.sin(towards) + right * np.cos(towards)) / size
        body *= 1 - 0.85 * soft_step(across - 0.10, 0.08)
    added = body * FAINT_SHAPES.get(shape, 1.0)
    added += _texture(shape, body, down / size, right / size, rng)
    rays = [(angle, length * size / 2, strength) for angle, length, strength in spicules]
    if "ARCHITECTURAL_DISTORTION" in shapes.split("-"):
        rays += [(angle, 0.75 * size, 0.6) for angle in rng.uniform(-np.pi, np.pi, 12)]
    web = np.zeros_like(radius)
    for direction, length, strength in rays:
        np.maximum(web, strength * _ray(down, right, direction, length, 0.014 * size), out=web)
    added += web * np.clip(1.1 - body, 0, 1) * np.clip(3 * radius / border, 0, 1)
    # Nothing may end abruptly at the border of the patch.
    added *= np.clip(8 * (PATCH_SHARE / 2 - radius / size), 0, 1)
    mask = radius <= np.interp(angle, ANGLES, annotated, period=2 * np.pi)
    return LesionPatch((contrast * added).astype(np.float32), mask)


def _annotated_outline(size: float, direction: float, rng: np.random.Generator) -> np.ndarray:
    """Draw the loose oval of an annotator, with `size` pixels of longer edge: radius, (720,).

    It is drawn alike around every lesion, so that no mask or box says what is in it.
    """
    turn = ANGLES - direction
    outline = 1 / np.hypot(np.cos(turn), rng.uniform(1.0, 1.5) * np.sin(turn))
    for waves in range(2, 6):
        weight = 0.04 * rng.normal() / np.sqrt(waves - 1)
        outline *= np.exp(weight * np.cos(waves * ANGLES + rng.uniform(0, 2 * np.pi)))
    extent = max(np.ptp(outline * np.sin(ANGLES)), np.ptp(outline * np.cos(ANGLES)))
    return outline * size / extent


def _outline(
    shape: str, margins: list[str], direction: float, rng: np.random.Generator
) -> np.ndarray:
    """Draw the radius of a mass at each of ANGLES, in any unit, (720,)."""
    turn = ANGLES - direction
    if shape in ("ROUND", "FOCAL_ASYMMETRIC_DENSITY"):
        aspect = rng.uniform(1.0, 1.12)
    elif shape == "LOBULATED":
        aspect = rng.uniform(1.0, 1.3)
    else:
        aspect = rng.uniform(1.3, 1.75)
    outline = 1 / np.hypot(np.cos(turn), aspect * np.sin(turn))
    if shape == "LOBULATED":
        lobes = int(rng.integers(3, 6))
        uneven = turn + 0.35 * np.sin(turn + rng.uniform(0, 2 * np.pi))
        outline *= 0.85 + 0.25 * np.abs(np.cos(lobes * uneven / 2))
    rough = 0.13 if shape in ("IRREGULAR", "ARCHITECTURAL_DISTORTION") else 0.02
    for waves in range(2, 9):
        weight = rough * rng.normal() / np.sqrt(waves - 1)
        outline *= np.exp(weight * np.cos(waves * ANGLES + rng.uniform(0, 2 * np.pi)))
    if "MICROLOBULATED" in margins:
        scallops = int(rng.integers(11, 17))
        outline *= 0.91 + 0.14 * np.abs(np.sin(scallops * turn / 2))
    return np.clip(outline, 0.35 * outline.mean(), 2.2 * outline.mean())


def _draw_spicules(rng: np.random.Generator) -> np.ndarray:
    """Draw direction (radians), length (over half the size) and strength, (n, 3)."""
    count = int(rng.integers(14, 25))
    directions = np.linspace(-np.pi, np.pi, count, endpoint=False) + rng.normal(0, 0.12, count)
    return np.stack([directions, rng.uniform(1.1, 2.1, count), rng.uniform(0.3, 0.7, count)], 1)


def _ray(
    down: np.ndarray, right: np.ndarray, direction: float, length: float, width: float
) -> np.ndarray:
    """Draw a thin line from the center outwards that narrows and fades at its end."""
    along = down * np.sin(direction) + right * np.cos(direction)
    across = down * np.cos(direction) - right * np.sin(direction)
    left = np.clip(1 - along / length, 0, 1)
    narrow = np.maximum(width * (0.5 + left), 0.6)
    return np.sqrt(left) * (along > 0) * np.exp(-((across / narrow) ** 2))


def _texture(
    shape: str, body: np.ndarray, down: np.ndarray, right: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Give what lies inside the body: the fatty hilum of a node, or mottled tissue."""
    if shape == "LYMPH_NODE":
        turn = rng.uniform(-np.pi, np.pi)
        hilum = (down - 0.15 * np.sin(turn)) ** 2 + (right - 0.15 * np.cos(turn)) ** 2
        return -0.6 * body * np.exp(-hilum / 0.12**2)
    asymmetric = shape in ("FOCAL_ASYMMETRIC_DENSITY", "ASYMMETRIC_BREAST_TISSUE")
    return (0.25 if asymmetric else 0.05) * body * power_law_noise(body.shape, 2.5, rng)


def draw_calcification(
    types: str,
    distributions: str,
    size: float,
    image_height: int,
    to_nipple: float,
    contrast: float,
    rng: np.random.Generator,
) -> LesionPatch:
    """Draw one group of calcifications on a patch a little larger than the lesion.

    The mask is an oval around the specks, drawn as loosely as around a mass.

    Args:
        types: Type words of CBIS-DDSM joined by hyphens; the specks take turns.
        distributions: Distribution words joined by hyphens, as `types`.
        size: Longer edge of the mask's box in pixels.
        image_height: In pixels; it scales the specks.
        to_nipple: Direction of the nipple in radians from the x axis, downwards positive.
        contrast: Factor on the specks' brightness.
        rng: Source of randomness.
    """
    words, spreads = types.split("-"), distributions.split("-")
    scale = image_height / REFERENCE_HEIGHT
    count = int(np.mean([rng.integers(*SPECKS[word].count, endpoint=True) for word in words]))
    if "CLUSTERED" not in spreads:
        count = int(1.5 * count)
    if "VASCULAR" in words:
        places, directions = _along_vessel(count, rng)
    else:
        places, directions = _places(count, spreads, to_nipple, rng)
    annotated = _annotated_outline(size, float(np.median(directions)), rng)
    largest = scale * max(SPECKS[word].radius[1] for word in words)
    margin = min(max(0.06 * size, largest, 2.0), 0.15 * size)
    places = _fit(places, annotated - margin)  # (n, 2) pixels from the center

    length = int(1.3 * size) | 1
    added = np.zeros((length, length), dtype=np.float32)
    for index, ((y, x), direction) in enumerate(zip(places, directions, strict=True)):
        _add_speck(added, y, x, direction, SPECKS[words[index % len(words)]], scale, rng)
    down, right = centered_grid(length)
    border = np.interp(np.arctan2(down, right), ANGLES, annotated, period=2 * np.pi)
    return LesionPatch(contrast * added, np.hypot(down, right) <= border)


def _places(
    count: int, spreads: list[str], to_nipple: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Draw positions (n, 2) in any unit, row first, and directions (n,) of specks."""
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
    start, bend = rng.uniform(-np.pi, np.pi), rng.choice([-1, 1]) * rng.uniform(0.6, 1.4)
    direction = start + bend * np.linspace(-0.5, 0.5, count)
    steps = np.stack([np.sin(direction), np.cos(direction)], 1)
    return np.cumsum(steps, axis=0), direction


def _fit(places: np.ndarray, outline: np.ndarray) -> np.ndarray:
    """Center positions, (n, 2), and make them as wide as fits into an outline, (720,) pixels."""
    places = places - (places.min(axis=0) + places.max(axis=0)) / 2
    angle = np.arctan2(places[:, 0], places[:, 1])
    room = np.interp(angle, ANGLES, outline, period=2 * np.pi)
    return places * np.min(room / np.maximum(np.hypot(*places.T), 1e-6))


def _add_speck(
    added: np.ndarray,
    y: float,
    x: float,
    direction: float,
    style: SpeckStyle,
    scale: float,
    rng: np.random.Generator,
) -> None:
    """Draw one speck into `added`, in place, keeping the brighter of speck and background."""
    radius = max(rng.uniform(*style.radius) * scale, 0.55)
    stretch = style.stretch
    if style.form in ("disk", "ring", "haze"):
        stretch = rng.uniform(1, style.stretch)
        direction = rng.uniform(-np.pi, np.pi)
    reach = radius * (style.stretch + 3)
    length = 2 * int(reach + 2) + 1
    y, x = y + added.shape[0] / 2 - 0.5, x + added.shape[1] / 2 - 0.5
    row, column = round(y), round(x)
    down, right = centered_grid(length)
    down, right = down - (y - row), right - (x - column)
    along = down * np.sin(direction) + right * np.cos(direction)
    across = down * np.cos(direction) - right * np.sin(direction)
    profile = _profile(style.form, along, across, down, radius, stretch)
    speck = rng.uniform(*style.brightness) * profile
    place, part = overlap(added.shape, length, row, column)
    added[place] = np.maximum(added[place], speck[part])


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
        wall = np.exp(-(((distance - 0.75 * radius) / max(0.3 * radius, 0.55)) ** 2))
        return wall + 0.25 * (distance < radius)
    full = soft_step(radius - distance, 0.3)
    return full * soft_step(down, 0.4) if form == "cup" else full
