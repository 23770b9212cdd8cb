"""One view rendered: the image of a breast with its lesions, and a mask per lesion."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from miram.mammography.phantom.breast import Breast, Row, add_film_marks, draw_breast
from miram.mammography.phantom.lesions import LesionPatch, draw_calcification, draw_mass, overlap

FULL_RANGE = 65535
MISMATCH = 1.1492  # pitch of one scanner over the other's
SMALL_COMPONENT_SHARE = 0.012  # of the mask, all together; real lesions keep over 98 %


@dataclass(frozen=True)
class RenderedView:
    """The (H, W) uint16 pixels of one view, and a mask and a crop of each lesion.

    Masks are uint8, 0 or 255, of the image's shape or, for a row with `mask_mismatch`, 1.149 times
    smaller in both axes. Crops are the lesions' boxes, uint16.
    """

    image: np.ndarray
    masks: list[np.ndarray]
    crops: list[np.ndarray]


def render_view(rows: Sequence[Row], image_size: int, seed: Sequence[int]) -> RenderedView:
    """Render one view: the rows of `draw_cases` for one patient, laterality and view.

    `image_size` is the height in pixels, `seed` the entropy of this view.
    """
    rng = np.random.default_rng(np.random.SeedSequence(seed))
    first = rows[0]
    shape = (image_size, round(image_size * first["aspect"]))
    breast = draw_breast(shape, first, rng)
    taken: list[tuple[float, float, float]] = []
    masks = [_add_lesion(breast, row, taken, rng) for row in rows]

    chest_wall_left = (first["laterality"] == "LEFT") != first["mirrored"]
    step = 1 if chest_wall_left else -1
    pixels = np.ascontiguousarray(breast.pixels[:, ::step])
    masks = [np.ascontiguousarray(mask[:, ::step]) for mask in masks]
    text = first["laterality"][0] + first["view"]
    add_film_marks(pixels, text, chest_wall_left, first["white_strips"], rng)
    image = np.round(np.clip(pixels, 0, 1) * FULL_RANGE).astype(np.uint16)
    crops = [image[ndimage.find_objects(mask, 1)[0]].copy() for mask in masks]
    return RenderedView(
        image,
        [_finished_mask(mask, row, rng) for mask, row in zip(masks, rows, strict=True)],
        crops,
    )


def _add_lesion(
    breast: Breast, row: Row, taken: list[tuple[float, float, float]], rng: np.random.Generator
) -> np.ndarray:
    """Draw a lesion into the breast, in place, and give its (H, W) mask."""
    height = breast.pixels.shape[0]
    size = float(np.clip(row["size"] * rng.uniform(0.92, 1.08), 0.032, 0.155)) * height
    y, x = _place(breast, row, size, taken, rng)
    taken.append((y, x, size))
    visible = 0.55 + 0.09 * row["subtlety"]
    if row["kind"] == "mass":
        contrast = visible * rng.uniform(0.07, 0.12)
        patch = draw_mass(row["first"], row["second"], size, contrast, rng)
    else:
        to_nipple = float(np.arctan2(breast.nipple[0] - y, breast.nipple[1] - x))
        patch = draw_calcification(
            row["first"], row["second"], size, height, to_nipple, visible, rng
        )
    return _paste(breast, patch, round(y), round(x))


def _place(
    breast: Breast,
    row: Row,
    size: float,
    taken: list[tuple[float, float, float]],
    rng: np.random.Generator,
) -> tuple[float, float]:
    """Find a place for a lesion inside the breast, apart from the others."""
    height = breast.pixels.shape[0]
    lowest, highest = 0.55 * size + 0.02 * height, 0.98 * height - 0.55 * size
    best, best_room = (breast.nipple[0], breast.nipple[1] / 2), -np.inf
    for _ in range(200):
        y = rng.uniform(lowest, highest)
        depth = float((breast.radial[int(y)] < 0.98).sum())  # the tissue is one run from x = 0
        x = depth * np.clip(row["reach"] + rng.normal(0, 0.06), 0, 1)
        if row["edge_lesions"]:
            x = rng.uniform(0.15, 0.3) * size
        elif not 0.55 * size < x < depth - 0.45 * size or breast.muscle[int(y), int(x)] > 0.2:
            continue
        if breast.radial[int(y), int(x)] > 0.8:
            continue
        room = min((np.hypot(y - v, x - u) - 0.75 * (size + s) for v, u, s in taken), default=0.0)
        if room >= 0:
            return float(y), float(x)
        if room > best_room:
            best, best_room = (float(y), float(x)), room
    return best


def _paste(breast: Breast, patch: LesionPatch, row: int, column: int) -> np.ndarray:
    """Add a patch centered on a pixel to the breast and give its mask within the image."""
    place, part = overlap(breast.pixels.shape, len(patch.mask), row, column)
    inside = breast.inside[place]
    brightened = breast.pixels[place] + patch.added[part]
    breast.pixels[place] = np.where(inside, np.clip(brightened, 0.01, 0.97), 0)
    mask = np.zeros(breast.pixels.shape, dtype=bool)
    mask[place] = _largest_component(patch.mask[part] & inside)
    return mask


def _largest_component(mask: np.ndarray) -> np.ndarray:
    labels, count = ndimage.label(mask, structure=np.ones((3, 3)))
    if count <= 1:
        return mask
    return labels == 1 + np.argmax(np.bincount(labels.ravel())[1:])


def _finished_mask(mask: np.ndarray, row: Row, rng: np.random.Generator) -> np.ndarray:
    """Give the mask as it is filed: with small components, of the other scanner's size."""
    if row["small_components"]:
        mask = _with_small_components(mask, rng)
    if row["mask_mismatch"]:
        down, across = (
            ((np.arange(round(length / MISMATCH)) + 0.5) * MISMATCH).astype(int)
            for length in mask.shape
        )
        mask = mask[np.ix_(down.clip(max=mask.shape[0] - 1), across.clip(max=mask.shape[1] - 1))]
    return np.where(mask, 255, 0).astype(np.uint8)


def _with_small_components(mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Scatter specks of one to four pixels around a lesion without touching it."""
    (box,) = ndimage.find_objects(mask, 1)
    reach = max(mask[box].shape) // 2 + 3
    near = tuple(
        slice(max(edge.start - reach, 0), min(edge.stop + reach, length))
        for edge, length in zip(box, mask.shape, strict=True)
    )
    part = mask[near].copy()
    free = ~ndimage.binary_dilation(part, iterations=4)
    budget = int(SMALL_COMPONENT_SHARE * mask.sum())
    if budget < 2:  # a single pixel would be too large a share of so small a lesion
        return mask
    for _ in range(int(rng.integers(1, 9))):
        size = 2 if budget >= 8 and rng.random() < 0.4 else 1
        y = int(rng.integers(0, part.shape[0] - size + 1))
        x = int(rng.integers(0, part.shape[1] - size + 1))
        spot = np.s_[y : y + size, x : x + size]
        if budget >= size * size and free[spot].all():
            part[spot] = True
            budget -= size * size
    result = mask.copy()
    result[near] = part
    return result
