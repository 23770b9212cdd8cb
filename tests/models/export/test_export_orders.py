"""All exports of an encoder in one folder: replaced together, and what is left out is said."""

import pytest
import timm
import torch

from miram.errors import MiramError
from miram.models.checkpoints.files import EncoderCheckpoint
from miram.models.checkpoints.joined import join_folds, join_seeds
from miram.models.encoder import EncoderConfig
from miram.models.export.export import ExportConfig, export_all, export_encoder

ENCODER = EncoderConfig(
    name="vit_tiny_patch16_224",
    image_size=32,
    patch_size=8,
    overrides={"embed_dim": 32, "depth": 1, "num_heads": 2},
)


def encoder_of(seed):
    header = {"timm": ENCODER.timm_arguments, "license": "terms of the data"}
    return EncoderCheckpoint.of(ENCODER.build(seed), header)


def same_weights(folder, seed):
    loaded = timm.create_model(f"local-dir:{folder / 'timm'}", pretrained=True).state_dict()
    expected = ENCODER.build(seed).state_dict()
    torch.testing.assert_close(loaded, expected, rtol=0, atol=0)
    return True


def test_a_later_encoder_replaces_every_export_of_the_earlier_one(tmp_path):
    pytest.importorskip("transformers")
    folder = tmp_path / "exports"
    first = export_all(encoder_of(0), ("timm", "hugging_face"), folder)
    assert first.written == {"timm": "timm", "hugging_face": "hugging_face"}
    later = export_all(encoder_of(1), ("timm",), folder)
    assert same_weights(folder, seed=1)
    assert {path.name for path in folder.iterdir()} == {"timm"}
    assert [path.name for path in tmp_path.iterdir()] == ["exports"], "nothing temporary is left"
    assert (later.written, later.left_out) == ({"timm": "timm"}, {})
    assert later.license == "terms of the data"


def test_encoders_of_several_folds_are_left_out_with_a_reason_and_old_exports_go(tmp_path):
    export_all(encoder_of(0), ("timm",), tmp_path / "exports")
    folds = join_folds({"fold0": encoder_of(0), "fold1": encoder_of(1)})
    found = export_all(folds, ("timm",), tmp_path / "exports")
    assert list((tmp_path / "exports").iterdir()) == [] and found.written == {}
    assert "this checkpoint holds 2 encoders, one per fold" in found.left_out["timm"]


def test_of_several_seeds_the_first_is_exported(tmp_path):
    seeds = join_seeds({3: encoder_of(3), 4: encoder_of(4)})
    export_encoder(seeds, tmp_path, "timm")
    assert same_weights(tmp_path, seed=3)


def test_what_one_format_cannot_express_does_not_stop_the_others(tmp_path):
    pytest.importorskip("transformers")
    arguments = {"model_name": "resnet10t", "in_chans": 1, "num_classes": 0}
    header = {"timm": arguments, "image_size": 32}
    network = EncoderCheckpoint.of(timm.create_model(**arguments), header)
    found = export_all(network, ("hugging_face", "timm"), tmp_path / "exports")
    assert list(found.written) == ["timm"]
    assert "not a vision transformer" in found.left_out["hugging_face"]


def test_a_failure_leaves_the_earlier_exports_as_they_were(tmp_path):
    folder = tmp_path / "exports"
    export_all(encoder_of(0), ("timm",), folder)
    damaged = EncoderCheckpoint({}, encoder_of(0).metadata)
    with pytest.raises(RuntimeError, match="Missing key"):
        export_all(damaged, ("timm",), folder)
    assert same_weights(folder, seed=0)


def test_formats_come_as_one_text_from_the_command_line():
    assert ExportConfig.model_validate({"formats": "timm+onnx"}).formats == ("timm", "onnx")


def test_an_unknown_format_is_refused():
    with pytest.raises(MiramError, match=r"formats\.0: Input should be 'timm', 'onnx'"):
        ExportConfig.model_validate({"formats": ["tflite"]})
