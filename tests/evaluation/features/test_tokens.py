"""Any timm model gives features: one test against every family."""

import pytest
import timm
import torch

from miram.errors import MiramError
from miram.evaluation.features.pooling import encode_images
from miram.models.methods.backbone import TimmBackboneConfig

# name, side of the input, side of the grid of tokens (None for two grids), CLS token
FAMILIES = [
    ("resnet10t", 64, 2, False),
    ("convnext_atto", 64, 2, False),
    ("efficientnet_lite0", 64, 2, False),
    ("mobilenetv3_small_050", 64, 2, False),
    ("swin_tiny_patch4_window7_224", 64, 2, False),
    ("maxvit_rmlp_pico_rw_256", 64, 2, False),
    ("coatnet_pico_rw_224", 64, 2, False),
    ("crossvit_9_240", 240, None, False),
    ("tnt_s_patch16_224", 64, 4, True),
    ("xcit_nano_12_p16_224", 64, 4, True),
    ("vit_tiny_patch16_224", 64, 4, True),
    ("vit_relpos_small_patch16_224", 64, 4, False),
]


@pytest.mark.parametrize(("name", "side", "grid", "cls"), FAMILIES)
@torch.inference_mode()
def test_every_family_gives_its_own_pooled_vector_and_what_tokens_it_has(name, side, grid, cls):
    encoder = TimmBackboneConfig(name=name, image_size=side).build_encoder(0)
    images = torch.rand(2, 1, side, side, generator=torch.Generator().manual_seed(0))
    [found] = encode_images(encoder, images)
    assert found.pooled.ndim == 2
    assert torch.isfinite(found.pooled).all()
    assert not torch.allclose(found.pooled[0], found.pooled[1])
    assert (found.cls is not None) == cls
    if grid is None:
        assert found.grid is None
    else:
        assert found.grid.shape[:3] == (2, grid, grid)
    if not name.startswith("vit_tiny"):
        torch.testing.assert_close(found.pooled, encoder(images))


@torch.inference_mode()
def test_the_last_block_is_the_last_layer():
    vit = timm.create_model("vit_tiny_patch16_224", img_size=32, in_chans=1, num_classes=0).eval()
    images = torch.rand(2, 1, 32, 32)
    [last] = encode_images(vit, images)
    earlier, asked = encode_images(vit, images, (5, 12))
    torch.testing.assert_close(asked.grid, last.grid)
    torch.testing.assert_close(asked.cls, last.cls)
    assert not torch.allclose(earlier.pooled, last.pooled, atol=1e-2)


@torch.inference_mode()
def test_an_earlier_block_equals_a_shallower_model():
    deep, shallow = (
        timm.create_model(
            "vit_tiny_patch16_224", img_size=32, in_chans=1, num_classes=0, depth=depth
        ).eval()
        for depth in (4, 2)
    )
    state = deep.state_dict()
    shallow.load_state_dict({name: state[name] for name in shallow.state_dict()})
    images = torch.rand(2, 1, 32, 32)
    [expected], [found] = encode_images(shallow, images), encode_images(deep, images, (2,))
    torch.testing.assert_close(found.pooled, expected.pooled)
    torch.testing.assert_close(found.cls, expected.cls)


def test_a_block_that_is_not_there_is_refused():
    vit = timm.create_model("vit_tiny_patch16_224", img_size=32, in_chans=1, depth=2)
    with pytest.raises(MiramError, match=r"features\.layers has 3, but the encoder has 2 blocks"):
        encode_images(vit, torch.rand(1, 1, 32, 32), layers=(3,))


def test_another_family_records_that_its_last_layer_is_read(caplog):
    encoder = TimmBackboneConfig(name="resnet10t", image_size=32).build_encoder(0)
    images = torch.rand(1, 1, 32, 32)
    [found], [expected] = encode_images(encoder, images, (2,)), encode_images(encoder, images)
    assert torch.equal(found.pooled, expected.pooled)
    assert "its last layer is read" in caplog.text
