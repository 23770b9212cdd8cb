import pytest
import torch
import torch.nn.functional as F
from pydantic import ValidationError
from tiny import VIT_TINY as ENCODER

from miram.errors import MiramError
from miram.models.images import patchify
from miram.models.methods.masked_autoencoder import MaskedAutoencoderConfig
from miram.models.reconstruction import standardize, to_pixels


def decoder(scale, kind="softmax", **values):
    options = {"depth": 1, "heads": 2, "loss_on": "masked" if scale == 1 else "all", **values}
    small = {"length": 8} if kind == "linformer" else {}
    return {"scale": scale, "attention": {"kind": kind, **small}, **options}


def build(*decoders, encoder=ENCODER, **values):
    config = MaskedAutoencoderConfig(decoders=decoders, decoder_dim=32, **values)
    return config.build(encoder, seed=0)


def batch(model, size=3):
    side = model.config.crop_size(model.encoder_config)
    generator = torch.Generator().manual_seed(1)
    shape = (size, model.encoder_config.channels, side, side)
    noise = torch.rand(size, model.patches, generator=generator)
    return torch.randn(shape, generator=generator), noise


def expected_mae_loss(model, images, noise, mask_ratio):
    """The loss of He et al. (2022), one image and one patch at a time."""
    vit, decoder = model.encoder, model.decoders[0]
    losses = []
    for image, values in zip(images, noise, strict=True):
        embedded = vit.patch_embed.proj(image[None]).flatten(2).transpose(1, 2)[0]
        embedded = embedded + vit.pos_embed[0, 1:]
        order = values.argsort().tolist()
        count = int(len(order) * (1 - mask_ratio))
        visible, hidden = order[:count], order[count:]
        tokens = torch.stack([(vit.cls_token + vit.pos_embed[:, :1])[0, 0]])
        tokens = torch.cat([tokens, embedded[visible]])[None]
        for block in vit.blocks:
            tokens = block(tokens)
        tokens = model.embed(vit.norm(tokens))[0]
        full = [model.mask_token[0, 0]] * len(order)
        for place, token in zip(visible, tokens[1:], strict=True):
            full[place] = token
        tokens = (torch.stack([tokens[0], *full]) + decoder.positions[0])[None]
        for block in decoder.blocks:
            tokens = block(tokens)
        predictions = decoder.head(decoder.norm(tokens))[0, 1:]
        side, patch = image.shape[-1] // 8, 8
        for place in hidden:
            top, left = patch * (place // side), patch * (place % side)
            target = image[:, top : top + patch, left : left + patch].flatten()
            target = (target - target.mean()) / (target.var() + 1e-6).sqrt()
            losses.append((predictions[place] - target).square().mean())
    return torch.stack(losses).mean()


def test_one_softmax_decoder_computes_what_mae_computes():
    encoder = ENCODER.model_copy(update={"channels": 3})
    model = build(decoder(1), encoder=encoder)
    images, noise = batch(model)
    found = model(images, noise).loss
    torch.testing.assert_close(found, expected_mae_loss(model, images, noise, 0.75))


def test_three_scales_reconstruct_three_sizes():
    model = build(decoder(1), decoder(2), decoder(4))
    images, noise = batch(model)
    assert images.shape[-1] == 128
    found = model.reconstruct(images, noise)
    assert [item.prediction.shape[-1] for item in found] == [32, 64, 128]
    assert torch.equal(found[2].target, images)


def test_true_targets_are_area_averages_and_nearest_ones_add_no_detail():
    true, nearest = build(decoder(1), decoder(2)), build(decoder(1), decoder(2), target="nearest")
    images, _ = batch(true)
    views = true.pyramid(images)
    averages = images.unfold(2, 2, 2).unfold(3, 2, 2).mean(dim=(-1, -2))
    torch.testing.assert_close(views[1], averages)
    small, _ = batch(nearest)
    assert small.shape[-1] == 32
    torch.testing.assert_close(F.avg_pool2d(nearest.pyramid(small)[2], 2), small)


def test_losses_are_weighted_and_summed():
    plain = build(decoder(1), decoder(2))
    weighted = build(decoder(1, weight=3.0), decoder(2, weight=0.5))
    weighted.load_state_dict(plain.state_dict())
    images, noise = batch(plain)
    losses = plain(images, noise).losses
    expected = 3 * losses["loss_scale1"] + 0.5 * losses["loss_scale2"]
    torch.testing.assert_close(weighted(images, noise).loss, expected)


def test_masked_loss_does_not_depend_on_visible_predictions():
    model = build(decoder(1))
    images, noise = batch(model)
    output = model(images, noise)
    visible = (output.mask == 0).unsqueeze(-1)
    gradient = torch.autograd.grad(output.loss, output.predictions[0])[0]
    assert not gradient[visible.expand_as(gradient)].any()
    assert gradient[~visible.expand_as(gradient)].any()


def test_a_perfect_decoder_reconstructs_the_image_in_input_units():
    model = build(decoder(1), decoder(2))
    images, _ = batch(model)
    for scale, view in model.pyramid(images).items():
        perfect = standardize(patchify(view, 8)).values
        hidden = torch.ones(perfect.shape[:2])
        found = to_pixels(
            view, perfect, hidden, scale, patch_size=8, norm_pix=True, loss_on="masked"
        )
        torch.testing.assert_close(found.prediction, view, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("loss_on", ["masked", "all"])
def test_a_patch_that_no_loss_was_on_is_not_shown_as_reconstructed(loss_on):
    model = build(decoder(1, loss_on=loss_on))
    images, noise = batch(model)
    (found,) = model.reconstruct(images, noise)
    visible = found.masked == found.target
    assert visible.any() and not visible.all()
    assert torch.equal(found.prediction[visible], found.target[visible]) == (loss_on == "masked")
    assert not torch.isclose(found.prediction, found.target)[~visible].all()


@pytest.mark.parametrize(("ratio", "message"), [(0.95, "leaves 0 of 16"), (1e-18, "leaves 16 of")])
def test_a_mask_that_leaves_nothing_to_see_or_to_guess_is_refused(ratio, message):
    with pytest.raises(MiramError, match=message):
        build(decoder(1), mask_ratio=ratio)
    assert int(build(decoder(1), mask_ratio=0.93)(*batch(build(decoder(1)))).mask[0].sum()) == 15


def test_masks_are_drawn_from_torch_where_no_noise_is_given():
    model = build(decoder(1))
    images, _ = batch(model)
    torch.manual_seed(3)
    drawn = [model(images).mask for _ in range(2)]
    torch.manual_seed(3)
    again = model(images).mask
    assert torch.equal(again, drawn[0]) and not torch.equal(drawn[0], drawn[1])


def test_performers_of_a_hierarchical_decoder_share_no_draw():
    options = {"encoder_levels": (2, 1), "self_depth": 2, "heads": 2}
    attention = {"kind": "performer"}
    model = build({"scale": 1, "kind": "hierarchical", "attention": attention, **options})
    draws = [value for name, value in model.named_buffers() if name.endswith("projection")]
    assert len({tuple(draw.flatten().tolist()) for draw in draws}) == len(draws) == 3


def test_same_seed_same_weights():
    first, second = build(decoder(1), decoder(2)), build(decoder(1), decoder(2))
    other = MaskedAutoencoderConfig(decoders=(decoder(1),), decoder_dim=32).build(ENCODER, seed=1)
    assert all(
        torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True)
    )
    assert not torch.equal(first.mask_token, other.mask_token)


def test_a_wrong_image_size_is_named():
    model = build(decoder(1), decoder(2))
    with pytest.raises(ValueError, match="must be 64 x 64"):
        model(torch.zeros(1, 1, 32, 32), torch.rand(1, 16))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"decoders": [decoder(1), decoder(1)]}, "scale of its own"),
        ({"decoders": [decoder(2), decoder(3)]}, "does not divide"),
        ({"decoders": [decoder(1, heads=5)]}, "multiple of heads"),
        ({"decoders": []}, "at least 1"),
        ({"decoders": [decoder(1)], "mask_ration": 0.5}, "mask_ration"),
    ],
)
def test_impossible_settings_are_refused(values, message):
    with pytest.raises(ValidationError, match=message):
        MaskedAutoencoderConfig(decoder_dim=32, **values)
