"""Checkpoints as a starting point: what fits is taken, what is fitted computes the same."""

import json

import pytest
import torch
from reference_mae import (
    DIM,
    GRID,
    HEADS,
    OVERRIDES,
    PATCH,
    SCALE_1,
    SCALE_2,
    SIDE,
    ReferenceMae,
    encoder_config,
    hugging_face_names,
    masked_autoencoder,
    start,
    tokens_of_reference,
)
from safetensors.torch import save_file
from torch import nn

from miram.errors import MiramError
from miram.models.checkpoints.files import EncoderCheckpoint, PretrainedCheckpoint
from miram.models.methods.moco import MocoV3Config
from miram.models.pretrained_weights.load import InitializationConfig, initialize_from


@torch.no_grad()
def test_a_grey_image_gives_what_its_copy_on_three_channels_gave_in_mae(reference, mae_file, batch):
    vit = encoder_config().build(seed=3).eval()
    report = start(vit, mae_file)
    expected = tokens_of_reference(reference, batch[0].expand(-1, 3, -1, -1))
    torch.testing.assert_close(vit.forward_features(batch[0]), expected, atol=1e-5, rtol=1e-5)
    assert report.resized == {"encoder.patch_embed.proj.weight": "3 channels summed"}
    assert report.missing == () and report.format == "mae"
    assert all("no such part" in why for why in report.not_used.values())


@torch.no_grad()
def test_the_decoder_of_mae_predicts_what_it_predicted(reference, mae_file, batch):
    model = masked_autoencoder()
    report = start(model, mae_file, strict=True)
    expected = reference.predict(batch[0].expand(-1, 3, -1, -1), batch[1]).mean(dim=-1).flatten(2)
    actual = model(*batch).predictions[0]
    torch.testing.assert_close(actual, expected, atol=1e-5, rtol=1e-5)
    assert report.resized["decoders.0.head.weight"] == "mean of 3 channels"
    assert report.complete


@torch.no_grad()
def test_pixels_of_three_channels_are_brought_into_our_order(reference, mae_file, batch):
    model = masked_autoencoder(encoder=encoder_config(channels=3))
    assert start(model, mae_file, strict=True).complete
    images = torch.rand(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(2))
    expected = reference.predict(images, batch[1]).permute(0, 1, 4, 2, 3).flatten(2)
    actual = model(images, batch[1]).predictions[0]
    torch.testing.assert_close(actual, expected, atol=1e-5, rtol=1e-5)


def test_statistics_of_three_channels_are_not_absorbed_by_one(tmp_path):
    torch.save(ReferenceMae(channels=1).state_dict(), tmp_path / "grey.pth")
    with pytest.raises(MiramError, match="3 channels with a bias, the checkpoint's has 1"):
        start(masked_autoencoder(), tmp_path / "grey.pth", pixels="imagenet")


def test_weights_stay_as_they_are_where_each_crop_is_standardized_by_itself(mae_file):
    model = masked_autoencoder(encoder=encoder_config(pixels="crop", channels=3))
    start(model, mae_file, pixels="imagenet")
    given = torch.load(mae_file, weights_only=False)
    given = given.get("model", given)["patch_embed.proj.weight"]
    assert torch.equal(model.encoder.patch_embed.proj.weight, given)


def with_pixels(teller, folder, reference, mae_file):
    """A checkpoint for other pixels: options, encoder, mean and deviation of each channel."""
    if teller == "asked":
        mean, deviation = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
        return {"checkpoint": mae_file, "pixels": "imagenet"}, reference, mean, deviation
    if teller == "hugging_face":
        save_file(hugging_face_names(reference.state_dict()), folder / "model.safetensors")
        reported = {
            "do_normalize": True,
            "image_mean": [0.4, 0.5, 0.6],
            "image_std": [0.2, 0.3, 0.4],
        }
        (folder / "preprocessor_config.json").write_text(json.dumps(reported))
        return {"checkpoint": folder}, reference, reported["image_mean"], reported["image_std"]
    source = encoder_config().build(seed=1).eval()
    path = folder / "model.safetensors"
    if teller == "timm":
        save_file(source.state_dict(), path)
        reported = {"pretrained_cfg": {"mean": [0.3], "std": [0.2]}}
        (folder / "config.json").write_text(json.dumps(reported))
    else:
        reported = {"timm": encoder_config().timm_arguments, "pixel_mean": 0.3, "pixel_std": 0.2}
        EncoderCheckpoint.of(source, reported).save(path)
    return {"checkpoint": path, "strict": True}, source, [0.3], [0.2]


@torch.no_grad()
@pytest.mark.parametrize("teller", ["asked", "hugging_face", "timm", "miram"])
def test_absorbed_pixels_equal_standardizing_the_image_anew(
    teller, reference, mae_file, tmp_path, batch, caplog
):
    options, source, mean, deviation = with_pixels(teller, tmp_path, reference, mae_file)
    vit = encoder_config().build(seed=3).eval()
    start(vit, **options)
    mean, deviation = (torch.tensor(values).view(-1, 1, 1) for values in (mean, deviation))
    theirs = (batch[0].expand(-1, len(mean), -1, -1) - mean) / deviation
    whole = isinstance(source, ReferenceMae)
    expected = tokens_of_reference(source, theirs) if whole else source.forward_features(theirs)
    actual = vit.forward_features((batch[0] - 0.5) / 0.5)
    torch.testing.assert_close(actual, expected, atol=1e-4, rtol=1e-4)
    assert "nothing says" not in caplog.text


def test_pixels_that_nothing_states_are_warned_of_unless_they_are_set(mae_file, tmp_path, caplog):
    start(masked_autoencoder(), mae_file)
    assert "training.initialization.pixels=imagenet" in caplog.text
    caplog.clear()
    start(masked_autoencoder(), mae_file, pixels="imagenet")
    start(masked_autoencoder(), mae_file, pixels="miram")
    own = {"timm": encoder_config().timm_arguments}
    EncoderCheckpoint.of(encoder_config().build(0), own).save(tmp_path / "own.safetensors")
    start(masked_autoencoder(), tmp_path / "own.safetensors")
    assert "initialization.pixels" not in caplog.text


def test_positions_of_a_larger_grid_are_resized_and_a_flat_field_stays_flat(tmp_path):
    source = ReferenceMae(side=2 * SIDE)
    slope = torch.arange(2.0 * GRID).repeat(2 * GRID)  # rises from left to right
    source.pos_embed.data[0, 1:, 0] = slope
    source.pos_embed.data[0, 1:, 1] = 7.0
    torch.save({"model": source.state_dict()}, tmp_path / "large.pth")
    vit = encoder_config().build(seed=0)
    report = start(vit, tmp_path / "large.pth")
    assert report.resized["encoder.pos_embed"] == "grid 8 x 8 resized to 4 x 4"
    positions = vit.pos_embed[0, 1:].unflatten(0, (GRID, GRID))
    torch.testing.assert_close(positions[..., 1], torch.full((GRID, GRID), 7.0))
    rise = positions[..., 0]
    assert (rise[:, 1:] > rise[:, :-1]).all()
    torch.testing.assert_close(rise + rise.flip(1), torch.full((GRID, GRID), 2.0 * GRID - 1))
    torch.testing.assert_close(vit.pos_embed[:, 0], source.pos_embed[:, 0])


@pytest.mark.parametrize("theirs", [0, 2, 4])
@pytest.mark.parametrize("larger", [1, 2])
def test_positions_go_to_the_patches_whatever_registers_either_side_has(tmp_path, theirs, larger):
    source = encoder_config(registers=theirs, image_size=larger * SIDE).build(seed=1)
    source.pos_embed.data[0, 0] = 3.0
    source.pos_embed.data[0, 1 + theirs :] = 7.0
    source.pos_embed.data[0, 1 : 1 + theirs] = 5.0
    save_file(source.state_dict(), tmp_path / "model.safetensors")
    vit = encoder_config(registers=4).build(seed=0)
    fresh = vit.reg_token.clone()
    report = start(vit, tmp_path / "model.safetensors")
    assert (vit.pos_embed[0, 0] == 3.0).all()
    assert (vit.pos_embed[0, 1:5] == (5.0 if theirs == 4 else 0.0)).all()
    torch.testing.assert_close(vit.pos_embed[0, 5:], torch.full((GRID**2, DIM), 7.0))
    assert torch.equal(vit.reg_token, source.reg_token if theirs == 4 else fresh)
    assert ("encoder.pos_embed" in report.resized) == (theirs != 4 or larger != 1)
    assert ("encoder.reg_token" in report.missing) == (theirs != 4)


def test_patches_of_another_side_answer_alike_to_resized_patches(tmp_path):
    source = encoder_config().build(seed=1).eval()
    torch.save(source.state_dict(), tmp_path / "patch8.pth")
    vit = encoder_config(image_size=2 * SIDE, patch_size=2 * PATCH).build(seed=0).eval()
    report = start(vit, tmp_path / "patch8.pth", strict=True)
    assert report.resized == {"encoder.patch_embed.proj.weight": "patch size 8 resampled to 16"}
    small = torch.rand(2, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(4))
    patches = small.unfold(2, PATCH, PATCH).unfold(3, PATCH, PATCH)  # (B, 1, n, n, p, p)
    large = nn.functional.interpolate(
        patches.reshape(-1, 1, PATCH, PATCH), scale_factor=2, mode="bicubic", antialias=True
    ).reshape(2, GRID, GRID, 2 * PATCH, 2 * PATCH)
    large = large.permute(0, 1, 3, 2, 4).reshape(2, 1, 2 * SIDE, 2 * SIDE)
    with torch.no_grad():
        torch.testing.assert_close(
            vit.patch_embed(large), source.patch_embed(small), atol=1e-4, rtol=1e-4
        )


def test_weights_of_another_attention_are_taken_with_a_warning(tmp_path, caplog):
    source = encoder_config(attention={"kind": "halo"})
    path = tmp_path / "weights.safetensors"
    facts = {"timm": source.timm_arguments, **source.standardization.header()}
    EncoderCheckpoint.of(source.build(seed=1), facts).save(path)
    start(encoder_config(attention={"kind": "halo"}).build(seed=0), path)
    assert "attention" not in caplog.text
    start(encoder_config().build(seed=0), path)
    assert "was trained with halo attention, the encoder has softmax" in caplog.text


def test_both_encoders_of_moco_start_from_the_checkpoint(mae_file):
    model = MocoV3Config(hidden=8, width=8).build(encoder_config(), seed=0)
    report = start(model, mae_file)
    torch.testing.assert_close(model.key_encoder.state_dict(), model.encoder.state_dict())
    assert "encoder.blocks.1.mlp.fc2.bias" in report.loaded
    assert not any(name.startswith(("encoder.", "key_encoder.")) for name in report.missing)
    assert all(p.requires_grad is False for p in model.key_encoder.parameters())


def test_decoders_are_matched_by_what_they_are_and_not_by_their_place(tmp_path):
    source = masked_autoencoder(SCALE_2, SCALE_1, seed=1)
    header = {"method": source.config.model_dump(mode="json")}
    PretrainedCheckpoint.of(source, header).save(tmp_path / "p.safetensors")
    model = masked_autoencoder(SCALE_1, {**SCALE_2, "attention": {"kind": "softmax"}}, seed=2)
    fresh = model.decoders[1].head.weight.clone()
    report = start(model, tmp_path / "p.safetensors")
    assert torch.equal(model.decoders[0].head.weight, source.decoders[1].head.weight)
    assert torch.equal(model.decoders[1].head.weight, fresh)
    assert "decoders.scale2-nystrom.head.weight" in report.not_used
    assert "decoders.1.head.weight" in report.missing


def test_strict_names_what_has_no_partner_and_changes_nothing(mae_file):
    model = masked_autoencoder(SCALE_1, SCALE_2)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(MiramError, match=r"stay fresh: decoders\.1\."):
        start(model, mae_file, strict=True)
    torch.testing.assert_close(dict(model.state_dict()), before, rtol=0, atol=0)
    report = start(model, mae_file)
    assert report.not_used == {}
    assert all(name.startswith("decoders.1.") for name in report.missing)


def test_every_weight_of_either_side_is_accounted_for(mae_file, reference):
    model = masked_autoencoder(SCALE_1, SCALE_2, decoder_dim=24, mask_ratio=0.5)
    report = start(model, mae_file)
    taken = {name for name in report.resized if name in model.state_dict()} | set(report.loaded)
    assert taken | set(report.missing) == set(model.state_dict())
    assert not taken & set(report.missing)
    computed = len(report.resized.keys() - model.state_dict().keys())
    assert len(taken) + computed + len(report.not_used) == len(reference.state_dict())
    assert report.not_used["embed.weight"] == "shape 16 x 32 does not fit 24 x 32"
    assert json.loads(json.dumps(report.header()))["source"] == "checkpoint-799.pth"


def test_learned_positions_of_a_decoder_are_reported_and_not_taken(tmp_path):
    source = ReferenceMae()
    source.decoder_pos_embed.data += 0.1
    torch.save(source.state_dict(), tmp_path / "learned.pth")
    report = start(masked_autoencoder(), tmp_path / "learned.pth")
    why = report.not_used["decoders.scale1-softmax.positions"]
    assert why == "positions of its own; ours are fixed sine-cosines"


def test_without_a_checkpoint_nothing_happens():
    model = masked_autoencoder()
    before = model.embed.weight.clone()
    report = initialize_from(model, InitializationConfig())
    assert torch.equal(model.embed.weight, before) and report.loaded == () and report.complete


def test_another_number_of_heads_is_refused_where_it_is_known(reference, tmp_path):
    save_file(hugging_face_names(reference.state_dict()), tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({"num_attention_heads": 4}))
    with pytest.raises(MiramError, match="has 4 attention heads, the encoder 2"):
        start(masked_autoencoder(), tmp_path)
    config = encoder_config(overrides={**OVERRIDES, "num_heads": 8})
    path = tmp_path / "encoder.safetensors"
    EncoderCheckpoint.of(config.build(0), {"timm": config.timm_arguments}).save(path)
    with pytest.raises(MiramError, match="has 8 attention heads, the encoder 2"):
        start(masked_autoencoder(), path)


def test_another_number_of_heads_of_a_decoder_is_refused_where_it_is_known(reference, tmp_path):
    save_file(hugging_face_names(reference.state_dict()), tmp_path / "model.safetensors")
    reported = {"num_attention_heads": HEADS, "decoder_num_attention_heads": 8}
    (tmp_path / "config.json").write_text(json.dumps(reported))
    with pytest.raises(MiramError, match="has 8 attention heads in the decoder scale1-softmax"):
        start(masked_autoencoder(), tmp_path)
    start(masked_autoencoder({**SCALE_1, "heads": 8}), tmp_path, strict=True)
    start(masked_autoencoder(decoder_dim=24), tmp_path)  # nothing of the decoder fits
    source = masked_autoencoder(SCALE_1, SCALE_2)
    path = tmp_path / "own.safetensors"
    PretrainedCheckpoint.of(source, {"method": source.config.model_dump(mode="json")}).save(path)
    with pytest.raises(MiramError, match=r"scale2-nystrom, the model 2: set heads of method.decod"):
        start(masked_autoencoder(SCALE_1, {**SCALE_2, "heads": 2}), path)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"init_values": 0.1}, r"checkpoint encoder.blocks.0.ls1.gamma, .*init_values \(ls1"),
        ({"qk_norm": True}, r"checkpoint encoder.blocks.0.attn.q_norm.weight, .* qk_norm"),
        ({"mlp_ratio": 2.0}, r"checkpoint encoder.blocks.0.mlp.fc1.weight, .* mlp_ratio"),
    ],
)
def test_blocks_are_taken_whole_or_not_at_all(tmp_path, overrides, message):
    plain, other = encoder_config(), encoder_config(overrides={**OVERRIDES, **overrides})
    for name, config in (("plain", plain), ("other", other)):
        torch.save(config.build(seed=1).state_dict(), tmp_path / f"{name}.pth")
    for model in (plain.build(seed=0), masked_autoencoder(encoder=plain)):
        with pytest.raises(MiramError, match=message):
            start(model, tmp_path / "other.pth")
    for model in (other.build(seed=0), masked_autoencoder(encoder=other)):
        with pytest.raises(MiramError, match=r"blocks of plain\.pth are made otherwise"):
            start(model, tmp_path / "plain.pth")
    assert start(other.build(seed=0), tmp_path / "other.pth", strict=True).complete


def test_a_bias_that_a_checkpoint_has_not_stays_zero(tmp_path):
    source = encoder_config(overrides={**OVERRIDES, "qkv_bias": False}).build(seed=1)
    torch.save(source.state_dict(), tmp_path / "no_bias.pth")
    vit = encoder_config().build(seed=0)
    report = start(vit, tmp_path / "no_bias.pth")
    assert "encoder.blocks.0.attn.qkv.bias" in report.missing
    assert not vit.state_dict()["blocks.0.attn.qkv.bias"].any()
