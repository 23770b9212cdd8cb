"""`miram export`: the newest encoder, found and written where it was asked for."""

import json
from functools import partial

import pytest
import timm
import torch
from miram_command import call_miram

from miram.models.checkpoints.files import EncoderCheckpoint
from miram.models.encoder import EncoderConfig

run = partial(call_miram, "export")
ENCODER = EncoderConfig(
    name="vit_tiny_patch16_224",
    image_size=32,
    patch_size=8,
    overrides={"embed_dim": 32, "depth": 1, "num_heads": 2},
)
OLD, NEW = "2026-01-02T03.04.05.678Z", "2026-11-02T03.04.05.678Z"


@pytest.fixture(scope="module")
def data_root(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    for seed, version in enumerate((OLD, NEW)):
        folder = root / "06_models" / "mae" / "encoder.safetensors" / version
        header = {"timm": ENCODER.timm_arguments, "license": "terms of the data"}
        EncoderCheckpoint.of(ENCODER.build(seed), header).save(folder / "encoder.safetensors")
    # A run that was interrupted leaves a folder without a file.
    (root / "06_models" / "mae" / "encoder.safetensors" / "2026-12-01T00.00.00.000Z").mkdir()
    return root


@pytest.mark.parametrize(("options", "seed"), [((), 1), (("--version", OLD), 0)])
def test_the_newest_version_is_taken_unless_one_is_named(
    data_root, tmp_path, capsys, options, seed
):
    assert run("mae", "--to", tmp_path, "--data-root", data_root, *options) == 0
    output = capsys.readouterr().out
    assert f"timm: {tmp_path / 'timm'}" in output and "license: terms of the data" in output
    assert output.endswith("docs/models.md tells how each is loaded\n")
    model = timm.create_model(f"local-dir:{tmp_path / 'timm'}", pretrained=True)
    expected = ENCODER.build(seed).state_dict()
    torch.testing.assert_close(model.state_dict(), expected, rtol=0, atol=0)


@pytest.mark.slow
def test_all_formats_at_once_and_printed_for_machines(data_root, tmp_path, capsys):
    for name in ("onnx", "onnxscript", "onnxruntime", "transformers"):
        pytest.importorskip(name)
    arguments = ("mae", "--to", tmp_path, "--data-root", data_root, "--format", "all", "--json")
    assert run(*arguments) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["written"] == {
        "timm": str(tmp_path / "timm"),
        "onnx": str(tmp_path / "encoder.onnx"),
        "hugging_face": str(tmp_path / "hugging_face"),
    }
    assert NEW in result["encoder"]
    assert (tmp_path / "encoder.onnx").is_file()
    for name in ("timm", "hugging_face"):
        assert (tmp_path / name / "model.safetensors").is_file()


@pytest.mark.slow
@pytest.mark.parametrize("formats", ["timm+onnx", "onnx,timm"])
def test_several_formats_are_joined_as_for_the_pipeline(data_root, tmp_path, capsys, formats):
    for name in ("onnx", "onnxscript"):
        pytest.importorskip(name)
    arguments = ("mae", "--to", tmp_path, "--data-root", data_root, "--format", formats, "--json")
    assert run(*arguments) == 0
    assert set(json.loads(capsys.readouterr().out)["written"]) == {"timm", "onnx"}
    assert {path.name for path in tmp_path.iterdir()} == {"timm", "encoder.onnx"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nonsense"], "no encoder of 'nonsense' under"),
        (["nonsense"], "there are encoders of mae"),
        (["mae", "--version", "2020"], f"there are {OLD}, {NEW}"),
        (["mae", "--format", "tflite"], "one of timm, onnx, hugging_face, all"),
        (["mae", "--format", "timm+tflite"], "unknown format 'tflite'"),
        (["mae", "--format", "timm,"], "unknown format ''"),
    ],
)
def test_what_cannot_be_exported_is_reported_on_one_line(
    data_root, tmp_path, capsys, arguments, message
):
    assert run(*arguments, "--to", tmp_path / "out", "--data-root", data_root) == 1
    output = capsys.readouterr()
    assert output.out == "" and output.err.count("\n") == 1
    assert message in output.err
    assert not (tmp_path / "out").exists()
