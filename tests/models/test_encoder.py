import pytest
import timm
import torch
from pydantic import ValidationError

from miram.models.checkpoints import EncoderCheckpoint
from miram.models.encoder import EncoderConfig, encode_visible

CONFIG = EncoderConfig(
    name="vit_tiny_patch16_224", image_side=32, patch_side=8, overrides={"depth": 2}
)


def test_encoding_all_patches_equals_timm():
    vit = CONFIG.build(seed=0).eval()
    images = torch.rand(2, 1, 32, 32)
    keep = torch.arange(16).expand(2, -1)
    expected = vit.forward_features(images)
    torch.testing.assert_close(encode_visible(vit, images, keep), expected)


def test_saved_encoder_loads_in_one_line_of_timm(tmp_path):
    config = EncoderConfig(name="vit_tiny_patch16_224", image_side=224, patch_side=16)
    vit = config.build(seed=3).eval()
    path = tmp_path / "encoder.safetensors"
    EncoderCheckpoint.of(vit, {"timm": config.timm_arguments}).save(path)
    loaded = timm.create_model(
        "vit_tiny_patch16_224", in_chans=1, num_classes=0, checkpoint_path=str(path)
    ).eval()
    images = torch.rand(1, 1, 224, 224)
    assert torch.equal(loaded(images), vit(images))


def test_checkpoint_keeps_its_header_and_rebuilds_the_model(tmp_path):
    vit = CONFIG.build(seed=0).eval()
    metadata = {"timm": CONFIG.timm_arguments, "data_digest": "abc", "method": {"kind": "random"}}
    path = tmp_path / "encoder.safetensors"
    EncoderCheckpoint.of(vit, metadata).save(path)
    loaded = EncoderCheckpoint.load(path)
    assert loaded.metadata["data_digest"] == "abc"
    assert loaded.metadata["method"] == {"kind": "random"}
    images = torch.rand(2, 1, 32, 32)
    assert torch.equal(loaded.build()(images), vit(images))


def test_positions_are_fixed():
    vit = CONFIG.build(seed=0)
    assert not vit.pos_embed.requires_grad


def test_building_leaves_the_global_random_state_alone():
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    CONFIG.build(seed=0)
    assert torch.equal(torch.rand(1), expected)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"image_side": 65}, "64 would be"),
        ({"name": "vit_tinny_patch16_224"}, "timm has no model"),
        ({"chanels": 1}, "chanels"),
    ],
)
def test_impossible_encoders_are_refused(values, message):
    with pytest.raises(ValidationError, match=message):
        EncoderConfig(
            **{"name": "vit_tiny_patch16_224", "image_side": 64, "patch_side": 8, **values}
        )


def test_a_model_that_is_no_plain_vision_transformer_is_refused():
    config = EncoderConfig(name="resnet18", image_side=64, patch_side=8)
    with pytest.raises(TypeError):
        config.build(seed=0)
