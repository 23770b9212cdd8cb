"""The breast in a mammogram, on real films, phantom images and crops."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from skimage.draw import disk

from miram.mammography.crops.breast import breast_mask, chest_wall_edge, has_white_air
from miram.mammography.phantom import PhantomConfig, draw_cases
from miram.mammography.phantom.breast import add_film_marks, draw_breast


def film(side="left", strips=(), letters=False) -> tuple[np.ndarray, np.ndarray]:
    """An 8-bit film with a half-disk breast at the chest wall, and the breast's mask."""
    pixels = np.zeros((400, 240))
    truth = np.zeros(pixels.shape, dtype=bool)
    rows, columns = disk((200, 0), 150, shape=pixels.shape)
    truth[rows, columns] = True
    rng = np.random.default_rng(0)
    pixels[truth] = rng.uniform(60, 180, truth.sum())
    if letters:
        pixels[20:26, 180:220] = pixels[32:38, 180:220] = 255
    if side == "right":
        pixels, truth = pixels[:, ::-1], truth[:, ::-1]
    for strip, grey in strips:
        pixels[strip] = grey
        truth[strip] = False
    return pixels.astype(np.uint8), truth


def overlap(mask, truth) -> float:
    return (mask & truth).sum() / (mask | truth).sum()


def test_white_air_is_seen_on_every_inverted_film_and_on_no_other(shared_data):
    films = sorted((shared_data / "cbis_ddsm" / "films_half").glob("*.jpg"))[::8]
    crops = sorted((shared_data / "cbis_ddsm" / "lesions" / "crops").glob("*.png"))[::8]
    for path in (*films, *crops):
        with Image.open(path) as picture:
            pixels = np.asarray(picture)
        step = max(1, min(pixels.shape) // 256)
        thumbnail = pixels[::step, ::step]
        assert not has_white_air(thumbnail), path.name
        assert path in crops or has_white_air(pixels.max() - thumbnail), path.name


@pytest.mark.parametrize("side", ["left", "right"])
def test_white_strips_are_no_white_air(side):
    pixels, _ = film(side, [(np.s_[:10], 255), (np.s_[-10:], 255)], letters=True)
    assert not has_white_air(pixels) and has_white_air(255 - pixels)


@pytest.mark.parametrize(
    "strips",
    [
        [],
        [(np.s_[:6], 255)],
        [(np.s_[-9:], 255), (np.s_[:, :5], 255)],
        [(np.s_[:, -8:], 255)],
        [(np.s_[:14], 225)],
        [(np.s_[:, :7], 230), (np.s_[:4], 255)],
    ],
)
def test_white_and_grey_strips_are_no_breast(strips):
    pixels, truth = film(strips=strips, letters=True)
    assert overlap(breast_mask(pixels), truth) > 0.95


def test_white_with_a_slanted_edge_is_no_breast():
    pixels, truth = film()
    rows, columns = np.ogrid[:400, :240]
    wedge = columns < 3 + rows / 30
    pixels[wedge] = 255
    mask = breast_mask(pixels)
    assert not mask[wedge].any()
    assert overlap(mask, truth & ~wedge) > 0.95


def test_letters_are_no_breast():
    pixels, _ = film(letters=True)
    assert not breast_mask(pixels)[15:45, 175:225].any()


def test_dense_tissue_as_white_as_the_letters_is_breast():
    pixels, truth = film(letters=True)
    pixels[disk((200, 60), 40)] = 255
    assert overlap(breast_mask(pixels), truth) > 0.95


def test_the_brightest_tissue_at_the_chest_wall_is_breast():
    pixels, truth = film()
    rows = np.hypot(*np.ogrid[-200:200, 0:240])
    pixels[truth] = (200 * np.exp(-((rows / 110) ** 2)) + 30)[truth]
    assert overlap(breast_mask(pixels), truth) > 0.95


def test_the_grey_scale_does_not_matter():
    pixels, _ = film(strips=[(np.s_[:6], 255)], letters=True)
    assert (breast_mask(pixels) == breast_mask(pixels.astype(np.uint16) * 257)).all()


def test_a_picture_without_background_is_breast_all_over():
    rng = np.random.default_rng(0)
    for pixels in (np.zeros((64, 64)), np.full((64, 64), 9), rng.uniform(90, 200, (64, 64))):
        assert breast_mask(pixels).all()


def test_a_tiny_picture_is_breast_all_over():
    assert breast_mask(np.array([[3, 200], [90, 4]], dtype=np.uint8)).shape == (2, 2)


@pytest.mark.parametrize("side", ["left", "right"])
def test_the_chest_wall_is_where_most_of_the_breast_is(side):
    pixels, _ = film(side)
    assert chest_wall_edge(breast_mask(pixels)) == side


def test_the_breasts_of_a_phantom_are_found():
    cases = draw_cases(PhantomConfig(patients=30, image_size=256, seed=5))
    rng = np.random.default_rng(0)
    for row in cases.drop_duplicates(["patient", "laterality", "view"]).head(24).to_dict("records"):
        shape = (256, round(256 * row["aspect"]))
        breast = draw_breast(shape, row, rng)
        add_film_marks(breast.pixels, "LCC", True, row["white_strips"], rng)
        mask = breast_mask(np.round(np.clip(breast.pixels, 0, 1) * 65535).astype(np.uint16))
        assert overlap(mask, breast.inside) > 0.9
        assert chest_wall_edge(mask) == "left"


def test_real_breasts_hold_their_lesions_and_lie_on_the_side_of_the_chest_wall(shared_data):
    root = shared_data / "cbis_ddsm"
    lesions = pd.read_csv(root / "lesions" / "manifest.csv").query("in_kaggle_layout_subset")
    chosen = lesions.drop_duplicates("full_jpeg").iloc[::4]
    for row in chosen.itertuples():
        with Image.open(root / row.full_jpeg) as picture:
            picture.draft("L", (picture.width // 8, picture.height // 8))
            pixels = np.asarray(picture)
        scale = pixels.shape[0] / row.full_h
        mask = breast_mask(pixels)
        assert 0.08 < mask.mean() < 0.75
        y0, y1, x0, x1 = (round(v * scale) for v in (row.y0, row.y1, row.x0, row.x1))
        assert mask[y0:y1, x0:x1].mean() > 0.9
        darker = "right" if pixels[:, :20].mean() > pixels[:, -20:].mean() else "left"
        assert chest_wall_edge(mask) != darker


def test_real_crops_that_the_breast_fills_are_breast_all_over(shared_data):
    root = shared_data / "cbis_ddsm" / "lesions"
    dark = []
    for path in sorted((root / "crops").glob("*.png"))[::6]:
        pixels = np.asarray(Image.open(path))[::2, ::2]
        background = (pixels < 0.08 * pixels.max()).mean()
        dark.append(background)
        assert breast_mask(pixels).mean() > 0.9 - background
    assert min(dark) == 0
