import pytest
import timm
import torch
from pydantic import ValidationError
from safetensors.torch import save_file

from miram.errors import MiramError
from miram.models.methods.backbone import TimmBackboneConfig


def test_the_size_is_the_models_own_by_default_and_only_where_fixed_an_argument():
    assert TimmBackboneConfig(name="crossvit_9_240").input_size == 240
    free = TimmBackboneConfig(name="resnet10t", image_size=64)
    assert free.input_size == 64 and "img_size" not in free.timm_arguments
    tiny = TimmBackboneConfig(name="vit_tiny_patch16_224", image_size=64)
    assert tiny.timm_arguments["img_size"] == 64


def test_fresh_weights_follow_from_the_seed():
    config = TimmBackboneConfig(name="resnet10t", image_size=32)
    first, again, other = (config.build_encoder(seed).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["conv1.0.weight"], other["conv1.0.weight"])


def test_weights_for_color_images_serve_one_channel(tmp_path):
    color = timm.create_model("resnet10t", num_classes=7).eval()
    path = tmp_path / "weights.safetensors"
    state = {k: v for k, v in color.state_dict().items() if not k.startswith("fc.")}
    save_file({**state, "fc.weight": torch.zeros(1000, 512), "fc.bias": torch.zeros(1000)}, path)
    config = TimmBackboneConfig(name="resnet10t", image_size=64, pretrained=str(path))
    grey = torch.rand(2, 1, 64, 64)
    found = config.build_encoder(0)(grey)
    color.reset_classifier(0)
    torch.testing.assert_close(found, color(grey.expand(-1, 3, -1, -1)), atol=1e-5, rtol=1e-5)


def test_weights_of_an_encoder_of_ours_load(tmp_path):
    arguments = TimmBackboneConfig(name="vit_tiny_patch16_224", image_size=64).timm_arguments
    torch.manual_seed(1)  # other weights than those of seed 0, which are to be replaced
    vit = timm.create_model(**arguments).eval()
    path = tmp_path / "encoder.safetensors"
    save_file(vit.state_dict(), path)
    config = TimmBackboneConfig(name="vit_tiny_patch16_224", image_size=64, pretrained=str(path))
    images = torch.rand(1, 1, 64, 64)
    assert torch.equal(config.build_encoder(0)(images), vit(images))


def test_weights_keep_the_pixels_they_were_trained_on():
    assert TimmBackboneConfig(name="resnet10t").pixels is None
    found = TimmBackboneConfig(name="resnet10t", pretrained="hub").pixels
    assert found.mean == pytest.approx((0.485 + 0.456 + 0.406) / 3)
    assert found.deviation == pytest.approx((0.229 + 0.224 + 0.225) / 3)


def test_an_unknown_model_is_refused_with_suggestions():
    with pytest.raises(ValidationError, match=r"timm has no model.*resnet"):
        TimmBackboneConfig(name="resnetty18")


def test_missing_and_unfit_weights_are_named(tmp_path):
    missing = TimmBackboneConfig(name="resnet10t", pretrained=str(tmp_path / "none.pth"))
    with pytest.raises(MiramError, match=r"there are no weights at .*none\.pth"):
        missing.build_encoder(0)
    path = tmp_path / "other.safetensors"
    save_file({"a": torch.zeros(1)}, path)
    with pytest.raises(MiramError, match=r"weights of .*other\.safetensors"):
        TimmBackboneConfig(name="resnet10t", pretrained=str(path)).build_encoder(0)
