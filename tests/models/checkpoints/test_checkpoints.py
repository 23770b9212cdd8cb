"""Checkpoints keep weights and header, and tell what they hold without being loaded."""

import json

import pytest
import timm.data
import torch
from safetensors.torch import save_file
from tiny import ENCODER

from miram.errors import MiramError
from miram.models.checkpoints.files import (
    EncoderCheckpoint,
    PretrainedCheckpoint,
    describe_checkpoint,
    load_checkpoint,
)
from miram.models.methods.kinds import METHOD_KINDS
from miram.models.methods.masked_autoencoder import MaskedAutoencoderConfig
from miram.models.pretrained_weights.files import read_weights

HEADER = {
    "timm": ENCODER.timm_arguments,
    "training": {"epochs": 3},
    "data_digest": "abc",
    "git_commit": "0123",
    "license": "as the data",
}
ATTENTIONS = [
    {"kind": "softmax"},
    {"kind": "linformer", "length": 8},
    {"kind": "linformer", "length": 8, "share_kv": True, "one_kv_head": True},
    {"kind": "performer"},
    {"kind": "nystrom", "num_landmarks": 8},
]


def method(attention):
    low = {"scale": 1, "attention": {"kind": "softmax"}, "depth": 1, "heads": 4}
    high = {"scale": 2, "attention": attention, "depth": 1, "heads": 4, "loss_on": "all"}
    return MaskedAutoencoderConfig(decoders=(low, high), decoder_dim=32)


def header_of(config):
    return {**HEADER, "method": config.model_dump(mode="json")}


@pytest.mark.parametrize("attention", ATTENTIONS, ids=lambda a: "-".join(map(str, a.values())))
def test_a_whole_method_comes_back_from_its_file_alone(tmp_path, attention):
    model = method(attention).build(ENCODER, seed=1).eval()
    path = tmp_path / "pretrained.safetensors"
    PretrainedCheckpoint.of(model, header_of(model.config)).save(path)
    loaded = load_checkpoint(path)
    assert isinstance(loaded, PretrainedCheckpoint)
    again = loaded.build()
    assert not again.training
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(2, 1, 32, 32, generator=generator)
    noise = torch.rand(2, 16, generator=generator)
    with torch.no_grad():
        expected, actual = model(images, noise), again(images, noise)
    assert torch.equal(actual.loss, expected.loss)
    torch.testing.assert_close(actual.predictions, expected.predictions, rtol=0, atol=0)


def test_the_encoder_of_a_whole_method_is_the_encoder_saved_by_itself():
    model = method({"kind": "performer"}).build(ENCODER, seed=1)
    header = header_of(model.config)
    alone = EncoderCheckpoint.of(model.encoder, header)
    taken = PretrainedCheckpoint.of(model, header).encoder()
    assert taken.metadata == alone.metadata
    torch.testing.assert_close(taken.state, alone.state, rtol=0, atol=0)


def test_a_method_without_a_model_keeps_its_encoder():
    encoder = ENCODER.build(seed=0)
    wrapped = torch.nn.ModuleDict({"encoder": encoder})
    saved = PretrainedCheckpoint.of(wrapped, {**HEADER, "method": {"kind": "random"}})
    torch.testing.assert_close(saved.encoder().state, dict(encoder.state_dict()))
    with pytest.raises(MiramError, match=r"use encoder\(\)"):
        saved.build()


def test_training_on_does_not_change_what_was_taken():
    encoder = ENCODER.build(seed=0)
    saved = EncoderCheckpoint.of(encoder, HEADER)
    before = saved.state["norm.weight"].clone()
    with torch.no_grad():
        encoder.norm.weight.add_(1)
    assert torch.equal(saved.state["norm.weight"], before)


def test_the_same_encoder_gives_the_same_bytes(tmp_path):
    encoder = EncoderCheckpoint.of(ENCODER.build(seed=0), HEADER)
    backwards = EncoderCheckpoint(encoder.state, dict(reversed(encoder.metadata.items())))
    written = set()
    for number, checkpoint in enumerate([encoder, backwards] * 4):
        path = tmp_path / f"{number}.safetensors"
        checkpoint.save(path)
        written.add(path.read_bytes())
    assert len(written) == 1
    loaded = EncoderCheckpoint.load(path)
    assert loaded.metadata == encoder.metadata
    assert all(torch.equal(loaded.state[name], value) for name, value in encoder.state.items())


def test_a_checkpoint_is_described_from_its_header_alone(tmp_path):
    path = tmp_path / "encoder.safetensors"
    encoder = ENCODER.build(seed=0)
    EncoderCheckpoint.of(encoder, HEADER).save(path)
    reported = describe_checkpoint(path)
    assert reported["holds"] == "encoder"
    assert reported["parameters"] == sum(value.numel() for value in encoder.state_dict().values())
    assert reported["tensors"] == len(encoder.state_dict())
    assert reported["bytes"] == path.stat().st_size
    assert {key: reported[key] for key in HEADER} == HEADER
    assert reported["header_lacks"] == ["method", "pixels"]
    json.dumps(reported)
    content = bytearray(path.read_bytes())  # describing reads no weights
    length = int.from_bytes(content[:8], "little")
    content[8 + length :] = bytes(len(content) - 8 - length)
    path.write_bytes(content)
    assert describe_checkpoint(path) == reported


def test_a_file_of_another_tool_is_described_too(tmp_path):
    path = tmp_path / "other.safetensors"
    save_file({"a": torch.zeros(2, 3)}, path, metadata={"format": "pt", "author": "A. Nonymous"})
    reported = describe_checkpoint(path)
    assert (reported["parameters"], reported["author"]) == (6, "A. Nonymous")
    assert "data_digest" in reported["header_lacks"]


def test_one_kind_is_not_taken_for_the_other(tmp_path):
    model = method({"kind": "softmax"}).build(ENCODER, seed=1)
    path = tmp_path / "pretrained.safetensors"
    PretrainedCheckpoint.of(model, header_of(model.config)).save(path)
    with pytest.raises(MiramError, match="holds 'pretrained' weights, not 'encoder' weights"):
        EncoderCheckpoint.load(path)


def test_missing_and_damaged_files_are_reported(tmp_path):
    with pytest.raises(MiramError, match="there is no checkpoint at"):
        EncoderCheckpoint.load(tmp_path / "nowhere.safetensors")
    path = tmp_path / "encoder.safetensors"
    EncoderCheckpoint.of(ENCODER.build(seed=0), HEADER).save(path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(MiramError, match="is damaged: it is not what was written"):
        EncoderCheckpoint.load(path)
    (tmp_path / ".sha256").unlink()  # as a file from elsewhere
    for read in (EncoderCheckpoint.load, load_checkpoint, describe_checkpoint):
        with pytest.raises(MiramError, match="not a whole safetensors file"):
            read(path)


@pytest.mark.parametrize(
    "more",
    [
        {"pretrained": True},
        {"pretrained_cfg_overlay": {"url": "http://127.0.0.1:9/weights.pth"}},
        {"checkpoint_path": "/etc/passwd"},
        {"cache_dir": "."},
        {"model_name": "hf-hub:somebody/model"},
        {"model_name": "local-dir:/tmp"},
        {"model_name": ["vit_tiny_patch16_224"]},
        {"depth": "deep"},
        {"depth": {"2": 2}},
        {"num_classes": 5},
        {"num_heads": 0},
        {"attn_layer": {"kind": "telepathy"}},
        {"attn_layer": {"kind": "linformer", "length": 1000}},
    ],
)
def test_a_header_makes_a_model_and_fetches_nothing(more):
    good = EncoderCheckpoint.of(ENCODER.build(seed=0), HEADER)
    assert good.build().state_dict().keys() == good.state.keys()
    bad = EncoderCheckpoint(good.state, {**HEADER, "timm": {**HEADER["timm"], **more}})
    with pytest.raises(MiramError, match="the checkpoint's header"):
        bad.build()


@pytest.mark.parametrize(
    "more",
    [
        {"training": None},
        {"training": {"seed": [1]}},
        {"seeds": ["one"]},
        {"folds": 3},
        {"image_size": ["a"]},
        {"pixel_mean": {}},
    ],
)
def test_a_header_that_says_what_cannot_be_is_refused(tmp_path, more):
    path = tmp_path / "encoder.safetensors"
    state = EncoderCheckpoint.of(ENCODER.build(seed=0), HEADER).state
    texts = {key: json.dumps(value) for key, value in {**HEADER, **more}.items()}
    save_file(state, path, metadata=texts)
    for read in (load_checkpoint, read_weights):
        with pytest.raises(MiramError, match=f"the checkpoint's header .*{next(iter(more))}"):
            read(path)


def test_a_header_with_the_names_of_older_files_is_read(tmp_path):
    old = {
        **HEADER,
        "image_side": 32,
        "method": {"kind": "timm_backbone", "name": "resnet10t", "image_side": 32},
        "training": {"crops_wait": "auto", "watch_every": 4},
        "seeds": {"0": {"image_side": 32}},
    }
    path = tmp_path / "encoder.safetensors"
    EncoderCheckpoint(ENCODER.build(seed=0).state_dict(), old).save(path)
    metadata = describe_checkpoint(path)
    assert metadata["image_size"] == metadata["seeds"]["0"]["image_size"] == 32
    assert METHOD_KINDS.model_validate(metadata["method"]).image_size == 32
    assert metadata["training"] == {"crop_cache": "auto", "validate_every": 4}
    assert EncoderCheckpoint.load(path).metadata["image_size"] == 32


def test_a_study_s_folder_of_versions_is_its_newest_file(tmp_path):
    folder = tmp_path / "encoder.safetensors"
    for version, seed in (("2026-01-02T00.00.00.000Z", 1), ("2026-01-10T00.00.00.000Z", 2)):
        saved = EncoderCheckpoint.of(ENCODER.build(seed=seed), HEADER)
        saved.save(folder / version / folder.name)
    loaded = EncoderCheckpoint.load(folder)
    torch.testing.assert_close(loaded.state, saved.state, rtol=0, atol=0)
    torch.testing.assert_close(load_checkpoint(folder).state, saved.state, rtol=0, atol=0)
    assert describe_checkpoint(folder)["file"].endswith("2026-01-10T00.00.00.000Z/" + folder.name)
    read = read_weights(folder)
    assert read.file.parent.name == "2026-01-10T00.00.00.000Z"


def test_a_folder_without_versions_holds_no_checkpoint(tmp_path):
    with pytest.raises(MiramError, match=f"there is no checkpoint at {tmp_path}"):
        EncoderCheckpoint.load(tmp_path)


def test_timm_is_told_the_images_that_a_built_encoder_takes():
    header = {**HEADER, "pixels": "fixed", "pixel_mean": 0.4, "pixel_std": 0.25}
    encoder = EncoderCheckpoint.of(ENCODER.build(seed=0), header).build()
    reported = timm.data.resolve_data_config(model=encoder)
    assert reported["input_size"] == (1, 16, 16)
    assert (reported["mean"], reported["std"], reported["crop_pct"]) == ((0.4,), (0.25,), 1.0)
