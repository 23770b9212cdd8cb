import numpy as np
import pytest
import torch
from tiny import ENCODER, METHOD

from miram.models.checkpoints.files import EncoderCheckpoint, PretrainedCheckpoint
from miram.models.images import plain_views
from miram.models.pixels import CROP, FLOOR, HALF, IMAGENET, Pixels
from miram.training.data.batches import InputSpec


def grey(*levels):
    """Crops of one grey level each, with a brighter square."""
    images = torch.tensor(levels).view(-1, 1, 1, 1).repeat(1, 1, 8, 8)
    images[..., 2:4, 2:4] += 0.1
    return images


def test_each_crop_is_standardized_by_itself():
    found = CROP.standardize(grey(0.1, 0.5, 0.8))
    torch.testing.assert_close(found.mean(dim=(1, 2, 3)), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(found.std(dim=(1, 2, 3), correction=0), torch.ones(3))
    assert torch.allclose(found[0], found[1], atol=1e-4)  # brightness is gone, the square is not


def test_brightness_and_contrast_of_a_crop_make_no_difference():
    images = torch.rand(4, 1, 16, 16)
    found = CROP.standardize(0.5 * images + 0.2)
    torch.testing.assert_close(found, CROP.standardize(images), atol=1e-5, rtol=1e-5)


def test_the_noise_of_a_flat_crop_is_not_stretched():
    flat = torch.full((1, 1, 8, 8), 0.4)
    flat[..., 0, 0] += 0.001
    assert CROP.standardize(flat).abs().max() <= 0.001 / FLOOR + 1e-6


@pytest.mark.parametrize("pixels", [CROP, HALF, IMAGENET, Pixels(0.2, 0.1)])
def test_statistics_bring_grey_levels_back(pixels):
    images = torch.rand(3, 1, 8, 8)
    mean, deviation = pixels.of(images)
    torch.testing.assert_close(pixels.standardize(images) * deviation + mean, images)


@pytest.mark.parametrize(
    ("setting", "expected"),
    [("crop", CROP), ("half", HALF), ("imagenet", IMAGENET), ((0.2, 0.1), Pixels(0.2, 0.1))],
)
def test_the_setting_reaches_model_and_both_checkpoints(setting, expected, tmp_path):
    encoder = ENCODER.model_copy(update={"pixels": setting})
    model = METHOD.build(encoder, seed=0)
    assert InputSpec.of(model).pixels == expected
    header = {**METHOD.encoder_facts(encoder), "method": METHOD.model_dump(mode="json")}
    PretrainedCheckpoint.of(model, header).save(tmp_path / "pretrained.safetensors")
    loaded = PretrainedCheckpoint.load(tmp_path / "pretrained.safetensors")
    assert loaded.build().pixels == loaded.encoder().pixels == expected


def test_statistics_of_the_data_are_those_of_the_crops_that_train():
    crops = np.random.default_rng(0).integers(0, 30_000, (6, 16, 16), dtype=np.uint16)
    crops[3:] += 30_000
    encoder = ENCODER.model_copy(update={"pixels": "data"}).settled(crops, np.arange(3))
    some = crops[:3] / 65_535
    assert encoder.pixels == pytest.approx((some.mean(), some.std()), abs=1e-4)
    assert ENCODER.settled(crops, np.arange(3)) is ENCODER


def test_encoders_of_before_keep_their_pixels():
    old = EncoderCheckpoint({}, {"timm": {}, "pixel_mean": 0.5, "pixel_std": 0.5})
    assert old.pixels == EncoderCheckpoint({}, {"timm": {}}).pixels == HALF


def test_views_are_standardized_before_they_are_shrunk():
    crops = (torch.rand(2, 16, 16) * 65_535).round().to(torch.int32).to(torch.uint16)
    whole = plain_views(crops, 16, CROP)
    shrunk = torch.nn.functional.avg_pool2d(whole, 2)
    torch.testing.assert_close(plain_views(crops, 8, CROP), shrunk)
