"""What cannot be trained is refused before anything is made."""

from types import SimpleNamespace

import pytest
from forty_patients import lesions_of_40_patients
from kedro.io import DataCatalog, DatasetNotFoundError, MemoryDataset

from miram.errors import MiramError
from miram.evaluation.config import AssessmentConfig
from miram.integrations.checks import check_labels, check_models
from miram.mammography.crops.cut import CropConfig
from miram.models.encoder import EncoderConfig
from miram.models.methods.kinds import METHOD_KINDS
from miram.pipelines.pretrain import create_pipeline as pretrain
from miram.pipelines.probe import create_pipeline as probe
from miram.pipelines.rois import create_pipeline as rois

HEADS = {"heads": 2, "depth": 1}
LOW = {"scale": 1, "attention": {"kind": "softmax"}, **HEADS}
HIGH = {"scale": 2, "attention": {"kind": "linformer", "length": 8}, **HEADS}
LEVELS = {"scale": 1, "kind": "hierarchical", "heads": 2}
METHODS = {
    "mae": {"kind": "masked_autoencoder", "decoder_dim": 16, "decoders": [LOW]},
    "miram_linformer": {"kind": "masked_autoencoder", "decoder_dim": 16, "decoders": [LOW, HIGH]},
}


def refusal(check, *arguments, **options):
    """What a check objects to; nothing if it lets pass."""
    try:
        check(*arguments, **options)
    except MiramError as error:
        return str(error)
    return ""


def check_run(pipeline, image_size=64, stored=None, encoder=None, methods=METHODS, **changes):
    """Check a run in which `miram_linformer.method` is changed."""
    methods = {**methods, "miram_linformer": {**METHODS["miram_linformer"], **changes}}
    values = {"name": "vit_tiny_patch16_224", "image_size": 32, "patch_size": 8}
    parameters = {
        "params:encoder": EncoderConfig(**{**values, "overrides": {"depth": 2}, **(encoder or {})}),
        "params:rois": CropConfig(image_size=image_size, context=1.0),
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
    assert refusal(check_run, whole) == ""
    assert refusal(check_run, whole, image_size=128) == ""  # a larger store is averaged
    # The store is there, whatever rois says.
    assert refusal(check_run, training("miram_linformer"), image_size=32, stored=64) == ""
    assert refusal(check_run, training("mae"), stored=32) == ""


def test_a_pipeline_that_trains_nothing_asks_for_no_parameter():
    empty = DataCatalog({})
    with pytest.raises(DatasetNotFoundError):
        check_models(training("mae"), empty)
    assert refusal(check_models, rois() + probe(), empty) == ""


@pytest.mark.parametrize("image_size", [32, 96])
def test_crops_of_a_size_that_a_method_cannot_take_are_refused(image_size):
    whole = rois() + training("mae", "miram_linformer")
    assert refusal(check_run, whole, image_size=image_size).startswith(
        f"method miram_linformer: crops of {image_size} pixels do not fit a method that takes 64: "
        "set rois.image_size to a multiple of 64, or"
    )
    found = refusal(check_run, training("mae", "miram_linformer"), stored=image_size)
    assert "and run `kedro run --pipeline rois`" in found


def test_a_frozen_model_takes_crops_of_any_size():
    backbone = {"kind": "timm_backbone", "name": "resnet10t", "image_size": 224}
    for method in ({"kind": "random"}, backbone):
        assert refusal(check_run, training("random"), stored=64, methods={"random": method}) == ""


@pytest.mark.parametrize(
    ("encoder", "message"),
    [
        ({"name": "vit_small_patch16_dinov3"}, "^the encoder vit_small_patch16_dinov3"),
        ({"channels": 3}, "encoder.channels is 3, but mammograms have 1"),
    ],
)
def test_an_encoder_that_no_method_can_train_is_refused(encoder, message):
    with pytest.raises(MiramError, match=message):
        check_run(rois() + training("mae"), encoder=encoder)


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
        check_run(rois() + training("mae", "miram_linformer"), **changes)


@pytest.mark.parametrize("learner", ["supervised.method", "finetuning"])
@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"pathology": None}, "no lesion has a value of pathology"),
        ({"abnormality_type": None}, "no lesion has a value of abnormality_type"),
        ({"abnormality_type": "mass"}, "malignant calc: 0 patients with it in the data"),
        ({}, ""),
    ],
)
def test_a_task_is_learned_only_from_lesions_that_can_answer_it(learner, changes, reason):
    parameters = {learner: SimpleNamespace(task="pathology4"), "evaluation": AssessmentConfig()}
    parameters |= {f"{method}.method": None for method in ("random", "mae", "moco_v3")}
    catalog = DataCatalog({f"params:{name}": MemoryDataset(v) for name, v in parameters.items()})
    types = ["mass", "calcification"] * 40
    lesions = lesions_of_40_patients().assign(**{"abnormality_type": types, **changes})
    found = refusal(check_labels, lesions, [learner], catalog)
    if not reason:
        assert found == ""
    else:
        assert found.startswith(f"{learner} cannot learn task 'pathology4': ")
        assert reason in found and f"Set {learner}.task to" in found
        assert ("--namespaces random,mae,moco_v3`" in found) == (learner == "supervised.method")
