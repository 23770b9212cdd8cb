"""What cannot be trained is refused before anything is made."""

from types import SimpleNamespace

import pytest
from kedro.io import DataCatalog, MemoryDataset

from miram.errors import MiramError
from miram.integrations.checks import check_models
from miram.mammography.crops.cut import CropConfig
from miram.models.encoder import EncoderConfig
from miram.models.method_kinds import METHOD_KINDS
from miram.pipelines.pretrain.pipeline import create_pipeline as pretrain
from miram.pipelines.probe.pipeline import create_pipeline as probe
from miram.pipelines.rois.pipeline import create_pipeline as rois

HEADS = {"heads": 2, "depth": 1}
LOW = {"scale": 1, "attention": {"kind": "softmax"}, **HEADS}
HIGH = {"scale": 2, "attention": {"kind": "linformer", "length": 8}, **HEADS}
LEVELS = {"scale": 1, "kind": "hierarchical", "heads": 2}
METHODS = {
    "mae": {"kind": "masked_autoencoder", "decoder_dim": 16, "decoders": [LOW]},
    "miram_linformer": {"kind": "masked_autoencoder", "decoder_dim": 16, "decoders": [LOW, HIGH]},
}


def check(pipeline, side=64, stored=None, encoder=None, methods=METHODS, **changes):
    """Check a run in which `miram_linformer.method` is changed."""
    methods = {**methods, "miram_linformer": {**METHODS["miram_linformer"], **changes}}
    values = {"name": "vit_tiny_patch16_224", "image_size": 32, "patch_size": 8}
    parameters = {
        "params:encoder": EncoderConfig(**{**values, "overrides": {"depth": 2}, **(encoder or {})}),
        "params:rois": CropConfig(image_size=side, context=1.0),
        **{
            f"params:{name}.method": METHOD_KINDS.model_validate(method)
            for name, method in methods.items()
        },
    }
    if stored is not None:
        parameters["crops"] = SimpleNamespace(image_size=stored)
    catalog = DataCatalog({name: MemoryDataset(value) for name, value in parameters.items()})
    check_models(pipeline, catalog)


def training(*names):
    return pretrain().filter(node_namespaces=list(names))


def test_models_and_crops_that_fit_are_let_through():
    whole = rois() + training("mae", "miram_linformer")
    check(whole)
    check(whole, side=128)  # a larger store is averaged
    check(training("miram_linformer"), side=32, stored=64)  # the store is there, whatever rois says
    check(training("mae"), stored=32)


def test_a_pipeline_that_trains_nothing_asks_for_no_parameter():
    check_models(rois(), DataCatalog({}))
    check_models(probe(), DataCatalog({}))


@pytest.mark.parametrize("side", [32, 96])
def test_crops_of_a_side_that_a_method_cannot_take_are_refused(side):
    with pytest.raises(
        MiramError,
        match=rf"^method miram_linformer: crops of {side} pixels do not fit.*takes 64: "
        "set rois.image_size to a multiple of 64, or",
    ):
        check(rois() + training("mae", "miram_linformer"), side=side)
    with pytest.raises(MiramError, match="and run `kedro run --pipeline rois`"):
        check(training("mae", "miram_linformer"), stored=side)


def test_a_frozen_model_takes_crops_of_any_side():
    backbone = {"kind": "timm_backbone", "name": "resnet10t", "image_size": 224}
    check(training("random"), stored=64, methods={"random": {"kind": "random"}})
    check(training("random"), stored=64, methods={"random": backbone})


@pytest.mark.parametrize(
    ("encoder", "message"),
    [
        ({"name": "vit_small_patch16_dinov3"}, "^the encoder vit_small_patch16_dinov3"),
        ({"channels": 3}, "encoder.channels is 3, but mammograms have 1"),
    ],
)
def test_an_encoder_that_no_method_can_train_is_refused(encoder, message):
    with pytest.raises(MiramError, match=message):
        check(rois() + training("mae"), encoder=encoder)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mask_ratio": 0.99}, "leaves 0 of 16 patches visible"),
        ({"masking": {"kind": "block", "side": 3}}, r"masking.side \(3\) does not divide"),
        (
            {"decoders": [{**LEVELS, "encoder_levels": [3, 1]}]},
            "the encoder has 2 blocks",
        ),
        (
            {"decoders": [LOW, {**HIGH, "attention": {"kind": "linformer", "length": 66}}]},
            "length 66 is above the 65 tokens",
        ),
    ],
)
def test_a_decoder_that_does_not_fit_the_encoder_is_refused(changes, message):
    with pytest.raises(MiramError, match=f"^method miram_linformer: .*{message}"):
        check(rois() + training("mae", "miram_linformer"), **changes)
