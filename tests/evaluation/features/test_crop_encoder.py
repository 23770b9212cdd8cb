"""Crops to features as one module and as an exported graph: the numbers of the probes."""

import zipfile

import numpy as np
import pytest
import small_predictor as small
import torch
from project_paths import PROJECT

from miram.evaluation.features.crop_encoder import (
    CropEncoder,
    encode_crops,
    example_crops,
    export_graph,
)
from miram.evaluation.features.extract import extract_features
from miram.evaluation.features.pooling import FeatureConfig
from miram.models.checkpoints.files import EncoderCheckpoint
from miram.models.methods.backbone import TimmBackboneConfig

CONFIGS = (
    FeatureConfig(batch_size=2),
    FeatureConfig(pooling="mean+lesion+cls", symmetries=8, layers=(1,)),
)


def drawn(side, count=5):
    random = np.random.default_rng(1)
    crops = random.integers(0, 65_536, (count, side, side), dtype=np.uint16)
    masks = random.integers(0, 256, (count, side // 8, side // 8), dtype=np.uint8)
    masks[0] = 0
    return crops, masks


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("side", [24, 32, 64], ids=["smaller", "equal", "larger"])
def test_features_are_those_that_the_probes_read(side, config):
    crops, masks = drawn(side)
    encoder = CropEncoder(small.make_checkpoint(), config).eval()
    expected = extract_features(small.make_checkpoint(), crops, masks, config)
    np.testing.assert_allclose(encode_crops(encoder, crops, masks), expected, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("config", CONFIGS)
def test_the_exported_graph_gives_the_same_for_any_number_of_crops(config, tmp_path):
    encoder = CropEncoder(small.make_checkpoint(), config).eval()
    export_graph(encoder, 64, 8, tmp_path / "model.pt2")
    graph = torch.export.load(tmp_path / "model.pt2").module()
    for count in (1, 2, 7):
        inputs = example_crops(64, 8, count)[: 1 + config.reads_masks]
        with torch.inference_mode():
            torch.testing.assert_close(graph(*inputs), encoder(*inputs), atol=1e-5, rtol=1e-5)


@pytest.mark.slow
def test_a_convolutional_encoder_of_timm_is_exported_as_well(tmp_path):
    backbone = TimmBackboneConfig(name="resnet10t", image_size=32)
    header = {"timm": backbone.timm_arguments, "image_size": 32}
    checkpoint = EncoderCheckpoint.of(backbone.build_encoder(0), header)
    encoder = CropEncoder(checkpoint, FeatureConfig()).eval()
    export_graph(encoder, 64, 8, tmp_path / "model.pt2")
    images, _ = example_crops(64, 8, 3)
    with torch.inference_mode():
        found = torch.export.load(tmp_path / "model.pt2").module()(images)
        torch.testing.assert_close(found, encoder(images), atol=1e-5, rtol=1e-5)


def test_the_graph_holds_nothing_of_the_machine_it_was_made_on(tmp_path):
    encoder = CropEncoder(small.make_checkpoint(), FeatureConfig()).eval()
    export_graph(encoder, 64, 8, tmp_path / "model.pt2")
    with zipfile.ZipFile(tmp_path / "model.pt2") as archive:
        text = b"".join(archive.read(name) for name in archive.namelist())
    assert b"stack_trace" not in text
    assert b"site-packages" not in text
    assert str(PROJECT).encode() not in text
