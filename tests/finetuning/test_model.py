"""A pretrained encoder with a head: what it reads, and what it takes of its encoder."""

from dataclasses import replace

import pytest
import timm
import torch
from tiny import ENCODER

from miram.errors import MiramError
from miram.finetuning.model import AttentiveHead, FineTuned
from miram.models.attention.windows.halo import HaloConfig
from miram.models.checkpoints.files import EncoderCheckpoint
from miram.models.methods.backbone import TimmBackboneConfig
from miram.models.pixels import Pixels

DEEP = ENCODER.model_copy(update={"overrides": {**ENCODER.overrides, "depth": 2}})


def start():
    header = {"timm": DEEP.timm_arguments, "image_size": DEEP.image_size}
    return EncoderCheckpoint.of(DEEP.build(seed=0), header)


def convolutional():
    backbone = TimmBackboneConfig(name="resnet10t", image_size=32)
    header = {"timm": backbone.timm_arguments, "image_size": 32}
    return EncoderCheckpoint.of(backbone.build_encoder(0), header)


def test_an_encoder_gets_the_pixels_it_was_made_for():
    """The same grey levels, told by another header, give what the header says."""
    plain = start()
    shifted = replace(
        plain, metadata=plain.metadata | {"pixels": "fixed", "pixel_mean": 0.25, "pixel_std": 0.125}
    )
    images = torch.rand(2, 1, 16, 16)
    models = [
        FineTuned(each, "patches", torch.ones(2), several=False).eval() for each in (plain, shifted)
    ]
    assert models[0].pixels != models[1].pixels == Pixels(0.25, 0.125)
    assert torch.equal(*(model.logits(images) for model in models))


def test_drop_path_acts_in_training_only_and_other_models_pool_in_their_own_way():
    model = FineTuned(start(), "patches", torch.ones(2), several=False, drop_path=0.9)
    torch.manual_seed(0)
    images = torch.rand(64, 1, 16, 16)
    assert not torch.equal(model.train().logits(images), model.logits(images))
    assert torch.equal(model.eval().logits(images), model.logits(images))
    other = FineTuned(convolutional(), "patches", torch.ones(3), several=False).eval()
    assert other.logits(torch.rand(2, 1, 32, 32)).shape == (2, 3)


def test_patches_are_dropped_in_training_only():
    model = FineTuned(start(), "patches", torch.ones(2), several=False, patch_drop=0.75)
    seen = []
    model.encoder.blocks[0].register_forward_pre_hook(lambda _, x: seen.append(x[0].shape[1]))
    images = torch.rand(4, 1, 16, 16)
    torch.manual_seed(0)
    assert not torch.equal(model.train().logits(images), model.logits(images))
    assert torch.equal(model.eval().logits(images), model.logits(images))
    assert seen == [1 + 4, 1 + 4, 1 + 16, 1 + 16]


def test_patches_are_not_dropped_where_all_are_needed():
    halo = DEEP.model_copy(update={"attention": HaloConfig(window=2, halo=1)})
    header = {"timm": halo.timm_arguments, "image_size": halo.image_size}
    gridded = EncoderCheckpoint.of(halo.build(seed=0), header)
    for checkpoint, words in ((gridded, "needs all patches"), (convolutional(), "patch_drop to 0")):
        with pytest.raises(MiramError, match=words):
            FineTuned(checkpoint, "patches", torch.ones(2), several=False, patch_drop=0.5)


def test_an_attentive_head_without_a_preference_reads_the_mean():
    torch.manual_seed(0)
    head, tokens = AttentiveHead(24, 3), torch.randn(4, 9, 24)
    assert sum(value.numel() for value in head.parameters()) == 24 * 8 + 24 * 3 + 3
    with torch.no_grad():
        assert not torch.allclose(head(tokens), head.linear(tokens.mean(dim=1)), atol=1e-3)
        head.queries.zero_()
        torch.testing.assert_close(head(tokens), head.linear(tokens.mean(dim=1)))


def test_each_query_gathers_its_own_channels_from_the_token_it_asks_for():
    head = AttentiveHead(16, 1)
    tokens = torch.zeros(1, 3, 16)
    tokens[0, 1, 0], tokens[0, 2, 2] = 1.0, 1.0  # channels 0-1 are of query 0, 2-3 of query 1
    with torch.no_grad():
        head.queries.zero_()
        head.queries[0, 0], head.queries[1, 2] = 1e3, 1e3
        head.linear.weight.fill_(1.0)
        torch.testing.assert_close(head(tokens).squeeze() - head.linear.bias, torch.tensor([2.0]))


def test_a_model_without_tokens_cannot_be_attended_to():
    with pytest.raises(MiramError, match="needs a vision transformer"):
        FineTuned(convolutional(), "attentive", torch.ones(2), several=False)


def test_a_model_whose_head_is_wider_than_its_last_layer_is_fine_tuned():
    arguments = {"model_name": "mobilenetv3_small_050", "in_chans": 1, "num_classes": 0}
    torch.manual_seed(0)
    wide = timm.create_model(**arguments).eval()
    checkpoint = EncoderCheckpoint.of(wide, {"timm": arguments, "image_size": 32})
    model = FineTuned(checkpoint, "patches", torch.ones(3), several=False).eval()
    images = torch.rand(2, 1, 32, 32)
    torch.testing.assert_close(model.logits(images), model.head(wide(images)))
