"""Checkpoints of others, as their own code saves them, are read; nothing in them is run."""

import json
import pickle

import pytest
import timm
import torch
from reference_mae import (
    DECODER_DIM,
    DEPTH,
    DIM,
    HEADS,
    OVERRIDES,
    PATCH,
    SCALE_1,
    SCALE_2,
    SIDE,
    encoder_config,
    hugging_face_names,
    masked_autoencoder,
    start,
)
from safetensors.torch import save_file

from miram.errors import MiramError
from miram.models.checkpoints.files import EncoderCheckpoint, PretrainedCheckpoint
from miram.models.checkpoints.joined import join_folds, join_seeds


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
def test_a_hugging_face_folder_gives_the_same_as_the_mae_file(
    reference, mae_file, tmp_path, name, batch
):
    state = hugging_face_names(reference.state_dict())
    (torch.save if name.endswith("bin") else save_file)(state, tmp_path / name)
    (tmp_path / "config.json").write_text(json.dumps({"num_attention_heads": HEADS}))
    expected, actual = masked_autoencoder(), masked_autoencoder(seed=9)
    start(expected, mae_file)
    assert start(actual, tmp_path, strict=True).format == "hugging_face"
    torch.testing.assert_close(actual.state_dict(), expected.state_dict(), rtol=0, atol=0)


@torch.no_grad()
def test_what_transformers_itself_saves_predicts_the_same_here(tmp_path, batch):
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.ViTMAEConfig(
        hidden_size=DIM,
        num_hidden_layers=DEPTH,
        num_attention_heads=HEADS,
        intermediate_size=4 * DIM,
        decoder_hidden_size=DECODER_DIM,
        decoder_num_hidden_layers=2,
        decoder_num_attention_heads=4,
        decoder_intermediate_size=4 * DECODER_DIM,
        image_size=SIDE,
        patch_size=PATCH,
        layer_norm_eps=1e-6,
        initializer_range=0.2,
    )
    theirs = transformers.ViTMAEForPreTraining(config).eval()
    model = masked_autoencoder()
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.normal_(std=0.2)
        theirs.decoder.decoder_pos_embed.copy_(model.decoders[0].positions)
    theirs.save_pretrained(tmp_path)
    assert start(model, tmp_path, strict=True).complete
    images, noise = batch
    logits = theirs(images.expand(-1, 3, -1, -1), noise=noise).logits
    expected = logits.unflatten(2, (-1, 3)).mean(dim=-1)
    torch.testing.assert_close(model(images, noise).predictions[0], expected, atol=1e-5, rtol=1e-5)
    torch.save(theirs.state_dict(), tmp_path / "in_memory.bin")
    again = masked_autoencoder(seed=8)
    start(again, tmp_path / "in_memory.bin", strict=True)
    torch.testing.assert_close(again.state_dict(), model.state_dict(), rtol=0, atol=0)


def test_a_file_of_timm_is_loaded_but_for_its_classifier(tmp_path):
    arguments = {"img_size": SIDE, "patch_size": PATCH, "in_chans": 1, **OVERRIDES}
    torch.manual_seed(3)
    theirs = timm.create_model("vit_tiny_patch16_224", num_classes=7, **arguments)
    save_file(theirs.state_dict(), tmp_path / "model.safetensors")
    vit = encoder_config().build(seed=0)
    report = start(vit, tmp_path / "model.safetensors")
    assert set(report.not_used) == {"encoder.head.weight", "encoder.head.bias"}
    assert report.missing == () and report.resized == {}
    expected = {k: v for k, v in theirs.state_dict().items() if not k.startswith("head.")}
    torch.testing.assert_close(dict(vit.state_dict()), expected, rtol=0, atol=0)


@pytest.mark.parametrize("whole", [True, False])
def test_our_own_checkpoints_start_another_run(tmp_path, whole):
    source = masked_autoencoder(SCALE_1, SCALE_2, seed=1)
    header = {
        "timm": source.encoder_config.timm_arguments,
        "method": source.config.model_dump(mode="json"),
    }
    path = tmp_path / "weights.safetensors"
    if whole:
        PretrainedCheckpoint.of(source, header).save(path)
    else:
        EncoderCheckpoint.of(source.encoder, header).save(path)
    model = masked_autoencoder(SCALE_1, SCALE_2, seed=2)
    report = start(model, path, strict=whole)
    torch.testing.assert_close(model.encoder.state_dict(), source.encoder.state_dict())
    same = torch.equal(model.decoders[1].head.weight, source.decoders[1].head.weight)
    assert same == whole == report.complete


def test_a_header_to_start_from_fetches_nothing(tmp_path):
    source = encoder_config()
    path = tmp_path / "weights.safetensors"
    elsewhere = {"pretrained_cfg_overlay": {"url": "http://127.0.0.1:9/weights.pth"}}
    facts = {"timm": {**source.timm_arguments, "pretrained": True, **elsewhere}}
    EncoderCheckpoint.of(source.build(seed=1), facts).save(path)
    with pytest.raises(MiramError, match="arguments that do not shape a model"):
        start(encoder_config().build(seed=0), path)


def test_a_file_of_several_seeds_starts_from_the_first(tmp_path):
    header = {"timm": encoder_config().timm_arguments}
    trained = {seed: EncoderCheckpoint.of(encoder_config().build(seed), header) for seed in (4, 2)}
    join_seeds(trained).save(tmp_path / "several.safetensors")
    model = masked_autoencoder()
    start(model, tmp_path / "several.safetensors")
    name = "blocks.0.attn.qkv.weight"
    assert torch.equal(model.encoder.state_dict()[name], trained[4].state[name])


def test_a_file_with_an_encoder_per_fold_starts_nothing_and_says_what_does(tmp_path):
    header = {"timm": encoder_config().timm_arguments}
    folds = {f"fold{n}": EncoderCheckpoint.of(encoder_config().build(n), header) for n in range(2)}
    join_folds(folds).save(tmp_path / "folds.safetensors")
    with pytest.raises(MiramError, match=r"holds 2 encoders, one per fold.*hold_out_folds=false"):
        start(masked_autoencoder(), tmp_path / "folds.safetensors")


def test_a_file_that_would_run_code_is_refused(tmp_path):
    ran = tmp_path / "ran"

    class Trap:
        def __reduce__(self):
            return (ran.touch, ())

    torch.save({"model": {"x": torch.zeros(1)}, "trap": Trap()}, tmp_path / "trap.pth")
    with pytest.raises(MiramError, match="could run code"):
        start(masked_autoencoder(), tmp_path / "trap.pth")
    (tmp_path / "plain.pth").write_bytes(pickle.dumps(Trap(), protocol=2))
    with pytest.raises(MiramError, match=r"plain\.pth"):
        start(masked_autoencoder(), tmp_path / "plain.pth")
    assert not ran.exists()


def bad_files(folder):
    (folder / "cut.safetensors").write_bytes(b"\x10\x00\x00\x00\x00\x00\x00\x00{")
    (folder / "cut.pth").write_bytes(b"PK\x03\x04 and no more")
    (folder / "empty.pth").write_bytes(b"")
    torch.save([1, 2], folder / "list.pth")
    save_file({"conv1.weight": torch.zeros(2)}, folder / "resnet.safetensors")
    (folder / "folder").mkdir()
    wide = timm.create_model("vit_tiny_patch16_224", num_classes=0, depth=1, img_size=SIDE)
    torch.save(wide.state_dict(), folder / "wide.pth")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nowhere.pth", "there is no checkpoint at"),
        ("cut.safetensors", "not a whole safetensors file"),
        ("cut.pth", "cut.pth"),
        ("empty.pth", "empty.pth"),
        ("list.pth", "holds a list, not weights by name"),
        ("resnet.safetensors", "first weights are conv1.weight"),
        ("folder", "neither model.safetensors nor pytorch_model.bin"),
        ("wide.pth", "nothing fits the blocks of the encoder"),
    ],
)
def test_checkpoints_that_cannot_be_used_are_reported(tmp_path, name, message):
    bad_files(tmp_path)
    with pytest.raises(MiramError, match=message):
        start(masked_autoencoder(), tmp_path / name)
