import pytest
import torch
from tiny import ENCODER, METHOD

from miram.models.images import patchify
from miram.models.methods.masked_autoencoder import MaskedAutoencoderConfig
from miram.models.reconstruction import gradient_map, standardize


def test_the_gradient_of_a_slope_is_its_steepness_everywhere_inside():
    columns = torch.arange(16.0).expand(1, 1, 16, 16)
    rows = columns.transpose(2, 3)
    found = gradient_map(0.3 * columns - 0.4 * rows)
    torch.testing.assert_close(found[..., 1:-1, 1:-1], torch.full((1, 1, 14, 14), 0.5))


def test_gradients_stay_in_float32_under_autocast():
    images = torch.rand(1, 1, 16, 16)
    with torch.autocast("cpu", torch.bfloat16):
        found = gradient_map(images)
    assert torch.equal(found, gradient_map(images))


def test_the_gradient_loss_is_named_and_weighted():
    decoder = {"scale": 1, "attention": {"kind": "softmax"}, "depth": 1, "heads": 2}
    weights = {"weight": 3.0, "gradient_weight": 0.25}
    config = MaskedAutoencoderConfig(decoders=[{**decoder, **weights}], decoder_dim=32)
    model = config.build(ENCODER, seed=0)
    images, noise = torch.randn(2, 1, 16, 16), torch.rand(2, 16)
    output = model(images, noise)
    pixels, gradient = output.losses["loss_scale1"], output.losses["loss_scale1_gradient"]
    torch.testing.assert_close(output.loss, 3 * (pixels + 0.25 * gradient))
    target = standardize(patchify(gradient_map(images), 4)).values
    error = (output.decoded[0].gradients - target).square().mean(dim=-1)
    torch.testing.assert_close(gradient, error[output.mask.bool()].mean())


def test_without_a_weight_there_is_no_gradient_head():
    model = METHOD.build(ENCODER, seed=0)
    assert not [name for name in model.state_dict() if "gradient" in name]
    output = model(torch.randn(2, 1, 16, 16), torch.rand(2, 16))
    assert set(output.losses) == {"loss_scale1"}


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_standard_patches_have_no_mean_and_unit_unbiased_variance(scale):
    patches = scale * torch.randn(2, 5, 64) + 7
    standard = standardize(patches)
    torch.testing.assert_close(standard.values.mean(-1), torch.zeros(2, 5), atol=1e-3, rtol=0)
    variance = patches.var(-1)
    expected = variance / (variance + 1e-6)
    torch.testing.assert_close(standard.values.var(-1), expected, atol=1e-4, rtol=1e-4)
    restored = standard.values * standard.deviation + standard.mean
    rounding = 4 * torch.finfo(torch.float32).eps * float(patches.abs().max())
    torch.testing.assert_close(restored, patches, atol=rounding, rtol=0)
