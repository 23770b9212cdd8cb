"""The breast and the film around it: outline, tissue, ducts, strips, burned-in letters."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from scipy import fft, ndimage
from skimage.draw import line as line_pixels

Row = dict[str, Any]  # of `draw_cases`
REFERENCE_HEIGHT = 1280  # rows of an image for which sizes in pixels are given
GLAND_THRESHOLD = {1: 1.6, 2: 0.7, 3: -0.1, 4: -1.1}
DUCT_STEPS = 14

GLYPHS = {  # 5 x 7 dots, one number per row, so that no font is needed
    "L": (16, 16, 16, 16, 16, 16, 31),
    "R": (30, 17, 17, 30, 20, 18, 17),
    "C": (14, 17, 16, 16, 16, 17, 14),
    "M": (17, 27, 21, 21, 17, 17, 17),
    "O": (14, 17, 17, 17, 17, 17, 14),
}


@dataclass(frozen=True)
class Breast:
    """A breast with its chest wall at the left border of the image.

    Attributes:
        pixels: (H, W) float32 brightness 0 to 1, exactly 0 outside the breast.
        radial: (H, W) relative distance from the chest wall's center, 1 at the skin.
        muscle: (H, W) share of pectoral muscle, 0 to 1.
        nipple: Its row and column.
    """

    pixels: np.ndarray
    radial: np.ndarray
    muscle: np.ndarray
    nipple: tuple[float, float]

    @property
    def inside(self) -> np.ndarray:
        """True where there is tissue, shape (H, W)."""
        return self.radial < 1


def draw_breast(shape: tuple[int, int], row: Row, rng: np.random.Generator) -> Breast:
    """Draw the breast of a row of `draw_cases`, (H, W) pixels, chest wall at the left.

    The view `MLO` has an axillary tail and the pectoral muscle. The BI-RADS density, 1 (fat) to
    4 (dense), sets the share of glandular tissue. The grain is the deviation of a pixel in an image
    of 1280 rows, full range 1: coarser pixels average more of it.
    """
    radial, nipple = _outline(shape, row["view"], rng)
    thickness = np.sqrt(np.clip((1 - radial) / 0.22, 0, 1))
    center = np.clip(1 - 1.6 * np.abs(radial - 0.55), -1, 1)
    lobes = power_law_noise(shape, 3.4, rng, coarse=8)
    gland = soft_step(lobes + center - GLAND_THRESHOLD[row["density"]], 0.4)
    fine = power_law_noise(shape, 2.9, rng)
    threads = np.exp(-((power_law_noise(shape, 3.6, rng, coarse=2) / 0.07) ** 2))
    tissue = 0.45 + 0.17 * gland + fine * (0.022 + 0.03 * gland)
    tissue += threads * (0.015 + 0.025 * gland)
    tissue += _ducts(shape, nipple, rng)
    muscle = np.zeros(shape, dtype=np.float32)
    if row["view"] == "MLO":
        muscle = _pectoral_muscle(shape, rng)
        tissue += 0.18 * muscle
    deviation = row["grain"] * shape[0] / REFERENCE_HEIGHT
    grain = deviation * rng.standard_normal(shape, dtype=np.float32)
    pixels = np.clip((tissue * row["exposure"] + grain) * thickness, 0.01, 0.92) * (radial < 1)
    return Breast(pixels.astype(np.float32), radial, muscle, nipple)


def _outline(
    shape: tuple[int, int], view: str, rng: np.random.Generator
) -> tuple[np.ndarray, tuple[float, float]]:
    """Give the (H, W) relative distance to the skin and the nipple's place."""
    height, width = shape
    y = np.arange(height, dtype=np.float32)[:, None]
    x = np.arange(width, dtype=np.float32)[None, :]
    depth = width * rng.uniform(0.58, 0.90)
    half = height * rng.uniform(0.33, 0.42)
    middle = height * (rng.uniform(0.46, 0.54) if view == "CC" else rng.uniform(0.54, 0.60))
    power = rng.uniform(1.9, 2.4)
    radial = ((x / depth) ** power + (np.abs(y - middle) / half) ** power) ** (1 / power)
    if view == "MLO":
        tail = np.hypot(x / (depth * rng.uniform(0.55, 0.75)), (y + 0.05 * height) / (0.6 * height))
        sharp = 9.0  # a smooth minimum: the tail runs into the breast without a crease
        radial = -np.log(np.exp(-sharp * radial) + np.exp(-sharp * tail)) / sharp
    wobble = ndimage.gaussian_filter1d(rng.standard_normal(height), height / 14)
    radial = radial * (1 + 0.02 * wobble[:, None] / wobble.std())
    bump = np.exp(-(((y - middle) / (0.018 * height)) ** 2)) * (x > 0.8 * depth)
    return (radial - 0.035 * bump).astype(np.float32), (float(middle), float(depth))


def _pectoral_muscle(shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Give the muscle in the upper corner at the chest wall, (H, W), 0 to 1."""
    y = np.linspace(0, 1, shape[0], dtype=np.float32)[:, None]
    x = np.linspace(0, 1, shape[1], dtype=np.float32)[None, :]
    across = x / rng.uniform(0.35, 0.52) + y / rng.uniform(0.40, 0.65)
    bulge = rng.uniform(0.0, 1.2) * x * y + 0.03 * np.sin(rng.uniform(5, 9) * y)
    return soft_step(1 - across + bulge, 0.03)


def _ducts(
    shape: tuple[int, int], nipple: tuple[float, float], rng: np.random.Generator
) -> np.ndarray:
    """Draw ducts that fan out from the nipple and fork: (H, W) brightness to add."""
    canvas = np.zeros((shape[0] // 2 + 1, shape[1] // 2 + 1), dtype=np.float32)
    step = nipple[1] / 2 / DUCT_STEPS
    paths = [
        (nipple[0] / 2, nipple[1] / 2 * 0.97, np.pi + angle, 0)
        for angle in np.linspace(-1.1, 1.1, int(rng.integers(7, 12)))
    ]
    while paths:
        y, x, angle, done = paths.pop()
        for position in range(done, DUCT_STEPS):
            angle += rng.normal(0, 0.16)
            end_y, end_x = y + step * np.sin(angle), x + step * np.cos(angle)
            rows, columns = line_pixels(int(y), int(x), int(end_y), int(end_x))
            seen = (rows >= 0) & (rows < canvas.shape[0])
            seen &= (columns >= 0) & (columns < canvas.shape[1])
            canvas[rows[seen], columns[seen]] = 1 - 0.8 * position / DUCT_STEPS
            y, x = end_y, end_x
            if rng.random() < 0.12:
                paths.append((y, x, angle + rng.choice([-0.5, 0.5]), position + 1))
    blurred = ndimage.gaussian_filter(canvas, max(0.9 * shape[0] / 1280, 0.5))
    return 0.13 * _enlarged(blurred, 2, shape)


def add_film_marks(
    pixels: np.ndarray, text: str, chest_wall_left: bool, strips: bool, rng: np.random.Generator
) -> None:
    """Burn letters, and perhaps white strips along two or three borders, into a finished image.

    `pixels`, (H, W) brightness 0 to 1, change in place; the letters stand opposite the chest wall.
    """
    height, width = pixels.shape
    letters = _letters(text, max(1, round(height / 220)))
    letters = ndimage.rotate(letters, rng.uniform(-25, 25), order=1)
    top = int(rng.uniform(0.03, 0.10) * height)
    edge = int(rng.uniform(0.03, 0.06) * width)
    left = width - edge - letters.shape[1] if chest_wall_left else edge
    target = pixels[top : top + letters.shape[0], left : left + letters.shape[1]]
    np.maximum(target, rng.uniform(0.75, 1.0) * np.clip(letters, 0, 1), out=target)
    if strips:
        across = _strip(width, rng)
        free_side = np.s_[:, -across:] if chest_wall_left else np.s_[:, :across]
        borders = [np.s_[: _strip(height, rng)], np.s_[-_strip(height, rng) :], free_side]
        for index in rng.permutation(3)[: int(rng.integers(2, 4))]:
            pixels[borders[index]] = rng.uniform(0.93, 1.0)


def _strip(length: int, rng: np.random.Generator) -> int:
    return max(1, int(length * rng.uniform(0.004, 0.018)))


def _letters(text: str, dot: int) -> np.ndarray:
    """Set text in dots of `dot` pixels, values 0 and 1, float32."""
    glyphs = [
        np.array([[row >> bit & 1 for bit in (4, 3, 2, 1, 0)] + [0] for row in GLYPHS[c]])
        for c in text
    ]
    return np.kron(np.hstack(glyphs), np.ones((dot, dot))).astype(np.float32)


def soft_step(distance: np.ndarray, softness: float) -> np.ndarray:
    """Rise from 0 to 1 around distance 0 within about four times the softness (a logistic)."""
    return 1 / (1 + np.exp(-np.clip(distance / softness, -30, 30)))


def power_law_noise(
    shape: tuple[int, int], beta: float, rng: np.random.Generator, coarse: int = 1
) -> np.ndarray:
    """Draw an (H, W) float32 Gaussian field whose power falls with frequency f as 1/f^beta.

    Mammographic texture has beta of about 3 (Burgess, Jacobson & Judy, Med Phys 28:419, 2001).
    The field has zero mean and unit variance on a grid coarser by `coarse`, and is interpolated.
    """
    grid = (fft.next_fast_len(-(-shape[0] // coarse)), fft.next_fast_len(-(-shape[1] // coarse)))
    amplitude = _amplitude(grid, beta)
    spectrum = np.empty(amplitude.shape, dtype=np.complex64)
    spectrum.real = rng.standard_normal(amplitude.shape, dtype=np.float32)
    spectrum.imag = rng.standard_normal(amplitude.shape, dtype=np.float32)
    field = fft.irfft2(spectrum * amplitude, s=grid)
    field = (field - field.mean()) / field.std()
    return _enlarged(field.astype(np.float32, copy=False), coarse, shape)


def _enlarged(field: np.ndarray, factor: int, shape: tuple[int, int]) -> np.ndarray:
    """Interpolate linearly onto a grid finer by a factor; its first (H, W) pixels."""
    if factor == 1:
        return field[: shape[0], : shape[1]]
    for axis, length in enumerate(shape):
        last = field.shape[axis] - 1
        places = np.linspace(0, last, (last + 1) * factor, dtype=np.float32)[:length]
        before = places.astype(np.intp)
        share = (places - before).reshape((-1, 1) if axis == 0 else (1, -1))
        after = np.minimum(before + 1, last)
        field = field.take(before, axis) * (1 - share) + field.take(after, axis) * share
    return field


@lru_cache(maxsize=8)
def _amplitude(grid: tuple[int, int], beta: float) -> np.ndarray:
    rows, columns = np.fft.fftfreq(grid[0])[:, None], np.fft.rfftfreq(grid[1])[None, :]
    frequency = np.hypot(rows, columns)
    frequency[0, 0] = np.inf  # no mean
    return (frequency ** (-beta / 2)).astype(np.float32)
