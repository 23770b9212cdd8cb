"""The patches that a served probe read add up to its answer, and lie where they were read."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from small_predictor import CROPS, make_checkpoint, make_probe

from miram.errors import MiramError
from miram.evaluation.features.crop_encoder import CropEncoder, encode_crops
from miram.evaluation.features.pooling import FeatureConfig
from miram.models.images import to_unit
from miram.serving.explain import contributions

SIZE = CROPS.image_size
CROP = np.random.default_rng(0).integers(0, 65_536, (2, SIZE, SIZE), dtype=np.uint16)
MASKS = np.zeros((2, SIZE // 4, SIZE // 4), np.uint8)
MASKS[:, 4:9, 5:11] = 255


def explained(pooling, crops=CROP, **options):
    """The encoder, its probe and what it says of the crops."""
    config = FeatureConfig(pooling=pooling, **options)
    encoder = CropEncoder(make_checkpoint(), config).eval()
    width = encode_crops(encoder, crops, MASKS).shape[1]
    # An untrained encoder is much the same everywhere: only large coefficients tell patches apart.
    random = np.random.default_rng(1)
    coefficients, scale = random.normal(size=(1, width)), random.uniform(0.5, 2, width)
    fitted = replace(make_probe(width=width).classifier, coefficients=coefficients, scale=scale)
    return encoder, fitted, contributions(encoder, crops, MASKS, fitted, 0)


def above_intercept(encoder, fitted):
    features = encode_crops(encoder, CROP, MASKS).astype(float)
    return ((features - fitted.mean) / fitted.scale) @ fitted.coefficients[0]


@pytest.mark.parametrize(
    "options",
    [
        {"pooling": "mean"},
        {"pooling": "rich", "symmetries": 8},
        {"pooling": "rich+lesion+lesion_std", "layers": (1, 2), "center_crops": (1.0, 0.5)},
    ],
)
def test_all_patches_together_are_the_logit_minus_the_intercept(options):
    encoder, fitted, found = explained(**options)
    total = sum(patches.sum(axis=(1, 2)) for patches in found.values())
    assert total == pytest.approx(above_intercept(encoder, fitted), abs=1e-3)
    assert {patches.shape for patches in found.values()} == {(2, 4, 4)}


@torch.no_grad()
def test_of_a_mean_each_patch_gives_its_token_times_the_slope():
    encoder, fitted, found = explained("mean")
    views = encoder.views(to_unit(torch.from_numpy(CROP)).squeeze(1), 1.0)
    tokens = encoder.encoder.forward_features(views)[:, 1:].double().numpy()  # (2, 16, 192)
    slopes = fitted.coefficients[0] / fitted.scale
    expected = (tokens - fitted.mean) @ slopes / 16
    assert found[1.0].reshape(2, 16) == pytest.approx(expected, abs=1e-4)


@torch.no_grad()
def test_what_the_cls_token_and_grey_levels_give_has_no_place():
    encoder, fitted, found = explained("cls+mean+grey")
    only_mean = (encode_crops(encoder, CROP, MASKS).astype(float) - fitted.mean) / fitted.scale
    by_feature = only_mean * fitted.coefficients[0]
    assert found[1.0].sum(axis=(1, 2)) == pytest.approx(
        by_feature[:, 192:384].sum(axis=1), abs=1e-3
    )


@pytest.mark.parametrize(
    "turn",
    [
        lambda images: np.rot90(images, axes=(1, 2)),
        lambda images: images.transpose(0, 2, 1),
        lambda images: images[:, ::-1],
    ],
    ids=["quarter", "transposed", "upside_down"],
)
def test_a_turned_crop_has_its_patches_turned(turn):
    upright = explained("rich", symmetries=8)[2][1.0]
    found = explained("rich", crops=turn(CROP), symmetries=8)[2][1.0]
    assert found == pytest.approx(turn(upright), abs=1e-3)
    assert np.ptp(upright) > 0.1


def test_other_models_are_refused_by_name():
    class Convolutions(torch.nn.Module):
        pass

    encoder = CropEncoder(make_checkpoint(), FeatureConfig(pooling="mean"))
    encoder.encoder = Convolutions()
    with pytest.raises(MiramError, match="this encoder is a Convolutions: leave out --explain"):
        contributions(encoder, CROP, MASKS, make_probe().classifier, 0)
