"""Masses whose shape and margins show in the pixels and in the mask (BI-RADS words)."""

import numpy as np

from miram.mammography.phantom.patch import LesionPatch, centered_grid, power_law_noise, soft_step

ANGLES = np.linspace(-np.pi, np.pi, 720, endpoint=False)
PATCH_SHARE = 2.4  # patch side over lesion size: room for spicules outside the mask

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


def draw_mass(
    shapes: str, margins: str, size: float, contrast: float, rng: np.random.Generator
) -> LesionPatch:
    """Draw one mass.

    Args:
        shapes: Shape words of CBIS-DDSM joined by hyphens; the first gives the outline.
        margins: Margin words joined by hyphens; all of them show.
        size: Longer side of the mask's box in pixels.
        contrast: Brightness of the center over the tissue, full range 1.
        rng: Source of randomness.

    Returns:
        The mass on a patch of side about 2.4 x size.
    """
    shape, margin_words = shapes.split("-")[0], margins.split("-")
    spicules = _draw_spicules(rng) if "SPICULATED" in margin_words else np.empty((0, 3))
    mask_outline = _mask_outline(shape, margin_words, spicules, rng)
    extent = max(np.ptp(mask_outline * np.sin(ANGLES)), np.ptp(mask_outline * np.cos(ANGLES)))
    outline = mask_outline * size / extent  # (720,) radius in pixels at each angle
    body_outline = np.minimum(outline, np.median(outline) * 1.15) if len(spicules) else outline

    down, right = centered_grid(int(size * PATCH_SHARE) | 1)
    radius, angle = np.hypot(down, right), np.arctan2(down, right)
    border = np.interp(angle, ANGLES, outline, period=2 * np.pi)
    body_border = np.interp(angle, ANGLES, body_outline, period=2 * np.pi)

    softness = size * float(np.mean([SOFTNESS[word] for word in margin_words]))
    body = soft_step(body_border - radius, softness)
    body *= 0.75 + 0.25 * np.clip(1 - (radius / body_border) ** 2, 0, 1)
    if "CIRCUMSCRIBED" in margin_words:  # the thin dark halo around a sharp border
        body -= 0.14 * np.exp(-(((radius - border) / (0.035 * size) - 1.5) ** 2))
    if "OBSCURED" in margin_words:  # one side sinks into the tissue that overlaps it
        towards = rng.uniform(-np.pi, np.pi)
        across = (down * np.sin(towards) + right * np.cos(towards)) / size
        body *= 1 - 0.85 * soft_step(across - 0.10, 0.08)
    added = body * FAINT_SHAPES.get(shape, 1.0)
    added += _texture(shape, body, radius / size, down / size, right / size, rng)
    rays = [(angle, length * size / 2, strength) for angle, length, strength in spicules]
    if "ARCHITECTURAL_DISTORTION" in shapes.split("-"):
        rays += [(angle, 0.75 * size, 0.6) for angle in rng.uniform(-np.pi, np.pi, 12)]
    web = np.zeros_like(radius)
    for direction, length, strength in rays:
        np.maximum(web, strength * _ray(down, right, direction, length, 0.014 * size), out=web)
    added += web * np.clip(1.1 - body, 0, 1) * np.clip(3 * radius / body_border, 0, 1)
    # Nothing may end abruptly at the border of the patch.
    added *= np.clip(8 * (PATCH_SHARE / 2 - radius / size), 0, 1)
    return LesionPatch((contrast * added).astype(np.float32), radius <= border)


def _mask_outline(
    shape: str, margins: list[str], spicules: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Give the radius of the outline at each of ANGLES, in any unit, shape (720,)."""
    turn = ANGLES - rng.uniform(-np.pi, np.pi)
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
    for direction, length, _ in spicules:
        away = np.angle(np.exp(1j * (ANGLES - direction)))
        outline *= 1 + 0.38 * (length - 0.9) * np.exp(-((away / 0.06) ** 2))
    return np.clip(outline, 0.35 * outline.mean(), 2.2 * outline.mean())


def _draw_spicules(rng: np.random.Generator) -> np.ndarray:
    """Draw direction (radians), length (over half the size) and strength, shape (n, 3)."""
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
    shape: str,
    body: np.ndarray,
    radius: np.ndarray,
    down: np.ndarray,
    right: np.ndarray,
    rng: np.random.Generator,
) -> np.ndarray:
    """Give what lies inside the body: the fatty hilum of a node, or mottled tissue."""
    if shape == "LYMPH_NODE":
        turn = rng.uniform(-np.pi, np.pi)
        hilum = (down - 0.15 * np.sin(turn)) ** 2 + (right - 0.15 * np.cos(turn)) ** 2
        return -0.6 * body * np.exp(-hilum / 0.12**2)
    if shape in ("FOCAL_ASYMMETRIC_DENSITY", "ASYMMETRIC_BREAST_TISSUE"):
        return 0.25 * body * power_law_noise(radius.shape, 2.5, rng)
    return 0.05 * body * power_law_noise(radius.shape, 2.5, rng)
