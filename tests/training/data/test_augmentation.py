import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.ndimage import gaussian_filter

from miram.models.images import plain_views, to_unit
from miram.models.pixels import HALF
from miram.training.data import augmentation
from miram.training.data.augmentation import (
    DRAWS,
    AugmentationConfig,
    augment,
    augment_coverage,
    axis_weights,
    crop_matrices,
)

NOTHING = AugmentationConfig(min_area=1, aspect=1, horizontal_flip=0)


def crops(count=4, side=16):
    generator = torch.Generator().manual_seed(0)
    values = torch.randint(0, 65_536, (count, side, side), generator=generator, dtype=torch.int32)
    return values.to(torch.uint16)


def uniforms(count=4, seed=0):
    return torch.rand(count, DRAWS, generator=torch.Generator().manual_seed(seed))


def test_without_augmentation_the_pixels_stay():
    found = augment(crops(), uniforms(), NOTHING)
    torch.testing.assert_close(found, to_unit(crops()), atol=1e-4, rtol=0)


def test_flips_mirror_the_image():
    both = NOTHING.model_copy(update={"horizontal_flip": 1.0, "vertical_flip": 1.0})
    found = augment(crops(), uniforms(), both)
    expected = augment(crops(), uniforms(), NOTHING).flip(dims=(2, 3))
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("rotation", [0, 30])
def test_a_samples_view_does_not_depend_on_its_batch(rotation):
    shaded = {"brightness": 0.1, "contrast": 0.2, "vertical_flip": 0.5}
    config = AugmentationConfig(rotation=rotation, **shaded)
    together = augment(crops(), uniforms(), config)
    alone = augment(crops()[2:3], uniforms()[2:3], config)
    torch.testing.assert_close(together[2:3], alone)


def test_crops_lie_inside_keep_their_area_in_range_and_half_of_them_are_flipped():
    config = AugmentationConfig(min_area=0.2)
    matrices = crop_matrices(uniforms(4000), config)
    assert abs((matrices[:, 0, 0] < 0).float().mean() - 0.5) < 0.04
    width, height = matrices[:, 0, 0].abs(), matrices[:, 1, 1].abs()
    assert (width * height).min() >= 0.2 - 1e-5
    assert (matrices[:, 0, 2].abs() + width).max() <= 1 + 1e-5
    assert (matrices[:, 1, 2].abs() + height).max() <= 1 + 1e-5


def test_intensity_changes_brightness_and_contrast():
    shaded = NOTHING.model_copy(update={"brightness": 0.3, "contrast": 0.5})
    plain, found = (augment(crops(), uniforms(), c) for c in (NOTHING, shaded))
    assert (plain.mean(dim=(1, 2, 3)) - found.mean(dim=(1, 2, 3))).abs().max() > 0.02


def test_plain_views_are_area_averages():
    found = plain_views(crops(side=16), 8, HALF)
    averages = to_unit(crops(side=16)).unfold(2, 2, 2).unfold(3, 2, 2).mean(dim=(-1, -2))
    torch.testing.assert_close(found, (averages - 0.5) / 0.5)


def test_blur_is_a_gaussian_of_each_samples_own_deviation(monkeypatch):
    monkeypatch.setattr(augmentation, "_BLUR_SIGMA", 0.1)
    config = NOTHING.model_copy(update={"blur": 1.0})
    numbers = uniforms(3)
    found = augment(crops(3, 32), numbers, config)
    plain = to_unit(crops(3, 32))
    for index in range(3):
        sigma = 3.2 * (0.05 + 0.95 * float(numbers[index, 10]))
        expected = gaussian_filter(plain[index, 0].numpy(), sigma, mode="mirror", radius=10)
        np.testing.assert_allclose(found[index, 0], expected, atol=1e-3)


@pytest.mark.parametrize("mode", ["bicubic", "bilinear"])
@pytest.mark.parametrize("side", [1, 2, 5, 32])
def test_axis_by_axis_is_sampling_by_a_grid(mode, side):
    config = AugmentationConfig(min_area=0.1, horizontal_flip=0.5, vertical_flip=0.5)
    numbers, images = uniforms(64), torch.rand(64, 1, side, side)
    matrices = crop_matrices(numbers, config)
    grid = F.affine_grid(matrices, list(images.shape), align_corners=False)
    expected = F.grid_sample(images, grid, mode, "reflection", align_corners=False)
    down, across = (axis_weights(matrices[:, row, [row, 2]], side, mode) for row in (1, 0))
    torch.testing.assert_close(down @ images @ across.mT, expected, atol=1e-5, rtol=0)


def test_magnified_detail_is_kept_better_than_by_bilinear_interpolation():
    side, turns = 64, 16  # a wave of 4 pixels
    config = NOTHING.model_copy(update={"min_area": 0.3})
    places = torch.arange(side) + 0.5

    def wave(x):
        return 0.5 + 0.4 * torch.sin(2 * torch.pi * turns * x)

    plain = wave(places / side).expand(8, side, side)
    crops = (plain * 65_535).round().to(torch.int32).to(torch.uint16)
    grid = F.affine_grid(crop_matrices(uniforms(8), config), [8, 1, side, side], False)
    exact = wave((grid[..., 0] + 1) / 2).unsqueeze(1)
    bilinear = F.grid_sample(plain.unsqueeze(1), grid, "bilinear", "reflection", False)
    found = augment(crops, uniforms(8), config)
    inside = (slice(None), slice(None), slice(4, -4), slice(4, -4))  # away from the reflection
    error, other = ((each - exact)[inside].square().mean().sqrt() for each in (found, bilinear))
    assert error < 0.5 * other


def test_sharp_edges_stay_within_the_grey_levels():
    edges = torch.zeros(4, 32, 32, dtype=torch.int32)
    edges[:, :, 16:], edges[:, 8:10] = 65_535, 65_535
    config = AugmentationConfig(min_area=0.3, rotation=30)
    found = augment(edges.to(torch.uint16), uniforms(), config)
    black, white = 0.0, 1.0
    assert found.min() == black and found.max() == white


def test_masks_do_not_overshoot_at_their_edges():
    coverage = torch.full((4, 16, 16), 100, dtype=torch.uint8)
    coverage[:, :, 8:] = 150
    found = augment_coverage(coverage, uniforms(), AugmentationConfig(min_area=0.3, rotation=30))
    assert found.min() == 100 and found.max() == 150
    assert ((found > 100) & (found < 150)).any()


def test_parts_with_a_probability_change_that_share_of_the_samples(monkeypatch):
    monkeypatch.setattr(augmentation, "_BLUR_SIGMA", 0.1)
    for name in ("blur", "solarize"):
        config = NOTHING.model_copy(update={name: 0.3})
        plain = augment(crops(1).expand(2000, -1, -1), uniforms(2000), NOTHING)
        found = augment(crops(1).expand(2000, -1, -1), uniforms(2000), config)
        share = ((found - plain).abs().amax(dim=(1, 2, 3)) > 1e-4).float().mean()
        assert abs(share - 0.3) < 0.04, name


def test_solarizing_turns_bright_pixels_over():
    config = NOTHING.model_copy(update={"solarize": 1.0})
    plain = augment(crops(), uniforms(), NOTHING)
    found = augment(crops(), uniforms(), config)
    torch.testing.assert_close(found, torch.minimum(plain, 1 - plain), atol=1e-5, rtol=0)
