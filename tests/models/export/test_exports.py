"""Exports compute what the encoder computes, and stand together in one folder."""

import json
import sys

import numpy as np
import pytest
import timm
import torch
from safetensors import safe_open
from tiny import ENCODER
from torch import nn

from miram.errors import MiramError
from miram.models.attention import HaloConfig
from miram.models.checkpoints.files import EncoderCheckpoint
from miram.models.checkpoints.joined import join_folds, join_seeds
from miram.models.export.export import ExportConfig, export_all, export_encoder
from miram.models.export.hugging_face import export_hugging_face
from miram.models.export.onnx import export_onnx
from miram.models.export.timm_folder import export_timm
from miram.models.pretrained_weights.load import InitializationConfig, initialize_from

HEADER = {
    "timm": ENCODER.timm_arguments,
    "method": {"kind": "random"},
    "data_digest": "abc",
    "license": "terms of the data",
    "pixel_mean": 0.4,
    "pixel_std": 0.25,
}


@pytest.fixture(scope="module")
def checkpoint():
    encoder = ENCODER.build(seed=0)
    generator = torch.Generator().manual_seed(0)
    for parameter in encoder.parameters():  # biases and norms too, so that none can be left out
        parameter.data.normal_(std=0.2, generator=generator)
    return EncoderCheckpoint.of(encoder, HEADER)


@pytest.fixture(scope="module")
def onnx_file(checkpoint, tmp_path_factory):
    for name in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(name)
    path = tmp_path_factory.mktemp("onnx") / "encoder.onnx"
    export_onnx(checkpoint, path)
    return path


@pytest.fixture(scope="module")
def hugging_face_folder(checkpoint, tmp_path_factory):
    pytest.importorskip("transformers")
    folder = tmp_path_factory.mktemp("hugging_face") / "encoder"
    export_hugging_face(checkpoint, folder)
    return folder


def images(batch):
    generator = torch.Generator().manual_seed(batch)
    return torch.randn(batch, 1, 16, 16, generator=generator)


def tokens(checkpoint, batch):
    with torch.no_grad():
        return checkpoint.build().forward_features(images(batch))


def assert_close(actual, expected):
    torch.testing.assert_close(torch.as_tensor(actual), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("batch", [1, 2, 7])
def test_onnx_runtime_gives_our_tokens_for_any_batch(checkpoint, onnx_file, batch):
    import onnxruntime

    session = onnxruntime.InferenceSession(str(onnx_file))
    features, cls, patches = session.run(None, {"images": images(batch).numpy()})
    expected = tokens(checkpoint, batch)
    assert_close(features, expected[:, 1:].mean(dim=1))
    assert_close(cls, expected[:, 0])
    assert_close(patches, expected[:, 1:])


def test_an_onnx_file_is_one_file_with_our_header_and_no_path_of_the_machine(checkpoint, onnx_file):
    import onnxruntime

    assert [path.name for path in onnx_file.parent.iterdir()] == ["encoder.onnx"]
    session = onnxruntime.InferenceSession(str(onnx_file))
    assert [output.name for output in session.get_outputs()] == ["features", "cls", "patches"]
    header = session.get_modelmeta().custom_metadata_map
    assert json.loads(header["license"]) == "terms of the data"
    assert json.loads(header["pixel_mean"]) == 0.4
    assert b".py" not in onnx_file.read_bytes()


def test_transformers_gives_our_tokens(checkpoint, hugging_face_folder):
    from transformers import ViTModel

    model, found = ViTModel.from_pretrained(
        hugging_face_folder, add_pooling_layer=False, output_loading_info=True
    )
    assert not found["missing_keys"] and not found["unexpected_keys"]
    with torch.no_grad():
        assert_close(model.eval()(images(3)).last_hidden_state, tokens(checkpoint, 3))


@pytest.mark.parametrize(("kind", "white"), [(np.uint16, 65_535), (np.uint8, 255)])
def test_the_preprocessor_standardizes_as_the_header_says(hugging_face_folder, kind, white):
    from transformers import ViTImageProcessor

    grey = np.random.default_rng(0).integers(0, white + 1, (1, 16, 16), dtype=kind)
    changed = {} if kind is np.uint16 else {"rescale_factor": 1 / white}
    processor = ViTImageProcessor.from_pretrained(hugging_face_folder, **changed)
    given = processor(grey, return_tensors="pt", input_data_format="channels_first")
    expected = (torch.from_numpy(grey[0].astype(np.float32)) / white - 0.4) / 0.25
    torch.testing.assert_close(given["pixel_values"][0, 0], expected)


def test_a_hugging_face_folder_comes_back_as_the_encoder(checkpoint, hugging_face_folder):
    encoder = ENCODER.build(seed=9)
    report = initialize_from(
        nn.ModuleDict({"encoder": encoder}),
        InitializationConfig(checkpoint=str(hugging_face_folder), strict=True),
    )
    assert report.format == "hugging_face" and not report.resized
    found, patches = encoder.state_dict(), ("patch_embed.proj.weight", "patch_embed.proj.bias")
    kept = {name: value for name, value in checkpoint.state.items() if name not in patches}
    torch.testing.assert_close({name: found[name] for name in kept}, kept, rtol=0, atol=0)
    grey = torch.rand(2, 1, 16, 16, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():  # trained on other pixels, as its folder says
        expected = checkpoint.build().forward_features((grey - 0.4) / 0.25)
        assert_close(encoder.eval().forward_features((grey - 0.5) / 0.5), expected)


def test_timm_loads_the_folder_by_itself(checkpoint, tmp_path):
    export_timm(checkpoint, tmp_path / "timm")
    model = timm.create_model(f"local-dir:{tmp_path / 'timm'}", pretrained=True).eval()
    with torch.no_grad():
        assert torch.equal(model.forward_features(images(2)), tokens(checkpoint, 2))
    assert model.pretrained_cfg["mean"] == (0.4,) or model.pretrained_cfg["mean"] == [0.4]
    assert model.pretrained_cfg["license"] == "terms of the data"


def test_any_timm_backbone_can_be_exported_to_timm(tmp_path):
    arguments = {"model_name": "resnet18", "in_chans": 1, "num_classes": 0}
    model = timm.create_model(**arguments)
    saved = EncoderCheckpoint.of(model, {"timm": arguments, "image_size": 32})
    export_timm(saved, tmp_path / "timm")
    loaded = timm.create_model(f"local-dir:{tmp_path / 'timm'}", pretrained=True).eval()
    with torch.no_grad():
        assert torch.equal(loaded(images(1)), model.eval()(images(1)))
    with pytest.raises(MiramError, match="resnet18 is not a vision transformer"):
        export_onnx(saved, tmp_path / "encoder.onnx")


def test_folders_keep_the_header_and_tell_license_and_use(
    checkpoint, hugging_face_folder, tmp_path
):
    export_timm(checkpoint, tmp_path / "timm")
    for folder in (hugging_face_folder, tmp_path / "timm"):
        with safe_open(folder / "model.safetensors", framework="pt") as file:
            assert json.loads(file.metadata()["data_digest"]) == "abc"
        page = (folder / "README.md").read_text()
        assert "terms of the data" in page and "minus 0.4, divided by 0.25" in page
        assert "(B, 1, 16, 16)" in page and '"data_digest": "abc"' in page


def test_a_folder_that_is_taken_is_left_alone(checkpoint, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(MiramError, match="exists: remove it"):
        export_timm(checkpoint, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"init_values": 1e-5}, "no place for the encoder's weight 'blocks.0.ls1.gamma'"),
        ({"qk_norm": True}, "no place for the encoder's weight 'blocks.0.attn.q_norm"),
        ({"global_pool": "avg", "fc_norm": True}, "GELU and Identity"),
        ({"act_layer": "gelu_tanh"}, "the encoder has GELUTanh"),
    ],
)
def test_what_a_vit_model_cannot_express_is_refused_and_nothing_is_left(
    tmp_path, overrides, message
):
    pytest.importorskip("transformers")
    arguments = {**ENCODER.timm_arguments, **overrides}
    odd = EncoderCheckpoint.of(timm.create_model(**arguments), {"timm": arguments})
    with pytest.raises(MiramError, match=message):
        export_hugging_face(odd, tmp_path / "folder")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("write", "package"),
    [(export_onnx, "onnxruntime"), (export_hugging_face, "transformers")],
)
def test_a_missing_package_says_how_to_install_it(
    monkeypatch, tmp_path, checkpoint, write, package
):
    monkeypatch.setitem(sys.modules, package, None)  # what Python does for a blocked import
    with pytest.raises(MiramError, match=rf"{package}: .*pip install -c .* '\.\[export\]'"):
        write(checkpoint, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


# All exports of an encoder in one folder.


def encoder_of(seed):
    return EncoderCheckpoint.of(ENCODER.build(seed), HEADER)


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

    def stopped():
        yield "timm"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export_all(encoder_of(1), stopped(), folder)
    assert same_weights(folder, seed=0)
    assert [path.name for path in tmp_path.iterdir()] == ["exports"], "nothing temporary is left"


def test_weights_that_do_not_fit_their_header_are_left_out_with_the_reason(tmp_path):
    found = export_all(EncoderCheckpoint({}, encoder_of(0).metadata), ("timm",), tmp_path / "to")
    assert not found.written and "makes no model" in found.left_out["timm"]


def test_formats_come_as_one_text_and_an_unknown_one_is_refused():
    assert ExportConfig.model_validate({"formats": "timm+onnx"}).formats == ("timm", "onnx")
    with pytest.raises(MiramError, match=r"formats\.0: Input should be 'timm', 'onnx'"):
        ExportConfig.model_validate({"formats": ["tflite"]})


def test_registers_are_exported_to_timm_and_onnx_and_refused_by_transformers(tmp_path):
    pytest.importorskip("onnxscript")
    pytest.importorskip("transformers")
    config = ENCODER.model_copy(update={"registers": 4})
    header = {**HEADER, "timm": config.timm_arguments}
    checkpoint = EncoderCheckpoint.of(config.build(seed=0), header)
    export_timm(checkpoint, tmp_path / "timm")  # checks that the tokens are the same
    export_onnx(checkpoint, tmp_path / "encoder.onnx")
    with pytest.raises(MiramError, match="no place for the encoder's weight 'reg_token'"):
        export_hugging_face(checkpoint, tmp_path / "hugging_face")


def test_an_attention_of_ours_is_exported_to_onnx_alone(tmp_path):
    pytest.importorskip("onnxscript")
    pytest.importorskip("transformers")
    config = ENCODER.model_copy(update={"attention": HaloConfig(window=2, halo=1)})
    header = {**HEADER, "timm": config.timm_arguments}
    checkpoint = EncoderCheckpoint.of(config.build(seed=0), header)
    export_onnx(checkpoint, tmp_path / "encoder.onnx")
    for export in (export_timm, export_hugging_face):
        with pytest.raises(MiramError, match="has no halo attention"):
            export(checkpoint, tmp_path / "folder")
