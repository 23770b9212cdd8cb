"""What every decoder promises, and what only the cross decoder does."""

import pytest
import torch
from model_checks import parameters_without_gradient
from pydantic import ValidationError
from timm.layers import Attention

from miram.models.decoders.cross import CrossAttention, visible_positions
from miram.models.describe import metered
from miram.models.encoder import EncoderConfig
from miram.models.images import repeat_mask, sincos_2d
from miram.models.methods.masked_autoencoder import MaskedAutoencoderConfig

ENCODER = EncoderConfig(
    name="vit_tiny_patch16_224",
    image_size=32,
    patch_size=8,
    overrides={"depth": 3, "embed_dim": 48, "num_heads": 2},
)
DECODERS = {
    "self": {"attention": {"kind": "softmax"}, "depth": 1},
    "cross": {"kind": "cross", "depth": 2},
    "cross with a share": {"kind": "cross", "depth": 2, "share": 0.5},
    "hierarchical": {"kind": "hierarchical", "encoder_levels": (3, 2, 1), "self_depth": 1},
    "self with gradients": {"attention": {"kind": "softmax"}, "depth": 1, "gradient_weight": 0.5},
    "cross with gradients": {"kind": "cross", "depth": 1, "share": 0.5, "gradient_weight": 0.5},
}
every_decoder = pytest.mark.parametrize("name", DECODERS)
every_scale = pytest.mark.parametrize("scale", [1, 2])
with_and_without_registers = pytest.mark.parametrize("registers", [0, 4])


def build(*decoders, encoder=ENCODER, **values):
    decoders = [{"heads": 2, **decoder} for decoder in decoders]
    config = MaskedAutoencoderConfig(decoders=decoders, decoder_dim=32, **values)
    return config.build(encoder, seed=0)


def single(name, scale, **values):
    return build({"scale": scale, "loss_on": "masked", **DECODERS[name]}, **values)


def with_registers(registers):
    return ENCODER.model_copy(update={"registers": registers})


def batch(model, size=3, seed=1):
    side = model.config.crop_size(model.encoder_config)
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(size, 1, side, side, generator=generator)
    return images, torch.rand(size, model.noise_width, generator=generator)


@every_decoder
@every_scale
@with_and_without_registers
def test_gradients_reach_every_parameter(name, scale, registers):
    model = single(name, scale, encoder=with_registers(registers))
    model(*batch(model)).loss.backward()
    assert not parameters_without_gradient(model)


@every_decoder
@every_scale
@with_and_without_registers
def test_hidden_patches_reach_no_prediction(name, scale, registers):
    encoder = with_registers(registers)
    model = single(name, scale, encoder=encoder, norm_pix=False, target="nearest").eval()
    images, noise = batch(model)
    first = model(images, noise)
    hidden = repeat_mask(first.mask, 8).view(images.shape)
    changed = model(images + 5 * hidden, noise)
    assert torch.equal(first.predictions[0], changed.predictions[0])
    moved = model(images + 5 * (1 - hidden), noise)
    assert not torch.equal(first.predictions[0], moved.predictions[0])


@with_and_without_registers
def test_decoders_find_visible_tokens_in_their_places(registers):
    model = single("self", 1, encoder=with_registers(registers)).eval()
    images, noise = batch(model)
    encoded = model.encode(images, model.mask(noise))
    assert encoded.prefix_tokens == 1 + registers
    grid, keep = encoded.grid().flatten(1, 2), encoded.masking.keep
    for sample in range(len(images)):
        assert torch.equal(grid[sample, keep[sample]], encoded.tokens[sample, 1 + registers :])
    hidden = grid[encoded.masking.mask.bool()]
    assert torch.equal(hidden, encoded.mask_token[0].expand_as(hidden))
    places = visible_positions(model.decoders[0].positions, encoded)
    assert torch.equal(places[:, 1 + registers :], sincos_2d(32, 4)[0][keep])


@every_decoder
@every_scale
def test_predictions_do_not_depend_on_batch_mates(name, scale):
    model = single(name, scale).eval()
    images, noise = batch(model)
    together = model(images, noise).predictions[0]
    alone = model(images[1:2], noise[1:2]).predictions[0]
    torch.testing.assert_close(together[1:2], alone, atol=1e-5, rtol=1e-5)


@every_decoder
def test_the_same_weights_and_noise_give_the_same_step(name):
    model = single(name, 2).eval()
    fresh = model.config.build(ENCODER, seed=1).eval()
    images, noise = batch(model)
    assert not torch.equal(fresh(images, noise).loss, model(images, noise).loss)
    fresh.load_state_dict(model.state_dict())
    first, second = fresh(images, noise), model(images, noise)
    assert torch.equal(first.loss, second.loss)
    assert torch.equal(first.mask, second.mask)
    assert torch.equal(first.predictions[0], second.predictions[0])


@every_decoder
def test_bf16_autocast_gives_finite_gradients_and_a_loss_near_float32(name):
    model = single(name, 2)
    images, noise = batch(model)
    with torch.autocast("cpu", torch.bfloat16):
        output = model(images, noise)
    output.loss.backward()
    assert output.predictions[0].dtype == torch.bfloat16
    assert output.loss.dtype == torch.float32
    assert output.loss.item() == pytest.approx(model(images, noise).loss.item(), rel=0.02)
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    assert all(gradient.isfinite().all() for gradient in gradients)


@every_decoder
def test_training_on_a_few_images_lowers_the_loss(name):
    model = single(name, 1)
    images, noise = batch(model, size=8)
    # Slopes of random steepness, up or down: what is hidden can be told from what is visible.
    slope = torch.linspace(-1, 1, 32).view(1, 1, 32, 1)
    images = slope * images[:, :, :1, :1].expand(-1, -1, -1, 32)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    losses = []
    for _ in range(25):
        loss = model(images, noise).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.6 * losses[0]


@every_decoder
@every_scale
def test_reconstructions_show_every_patch(name, scale):
    model = single(name, scale)
    images, noise = batch(model)
    (found,) = model.reconstruct(images, noise)
    assert found.prediction.shape == found.target.shape == (3, 1, 32 * scale, 32 * scale)
    assert found.prediction.flatten(1).std(dim=1).min() > 0


def test_a_decoder_without_a_kind_is_the_self_decoder():
    plain = {"scale": 1, "attention": {"kind": "softmax"}, "depth": 1}
    first, second = build(plain), build({"kind": "self", **plain})
    assert first.config == second.config
    assert first.config.decoders[0].kind == "self"


@pytest.mark.parametrize(
    ("decoder", "message"),
    [
        ({"scale": 1, "kind": "crossed"}, "kind is one of self, cross, hierarchical"),
        ({"scale": 1, "kind": "cross", "share": 0}, "greater than 0"),
        ({"scale": 1, "kind": "cross", "attention": {"kind": "softmax"}}, "attention"),
        ({"scale": 1, "depth": 2}, "attention"),
    ],
)
def test_impossible_decoders_are_refused(decoder, message):
    with pytest.raises(ValidationError, match=message):
        MaskedAutoencoderConfig(decoders=[decoder], decoder_dim=32)


def test_missing_noise_is_reported():
    model = single("cross with a share", 2)
    images, noise = batch(model)
    assert model.noise_width == 16 + 64
    with pytest.raises(ValueError, match="80 uniform numbers"):
        model(images, noise[:, : model.patches])


# What the cross decoder promises.


def cross(loss_on, share=1.0, scale=2):
    return build({"scale": scale, "kind": "cross", "depth": 2, "loss_on": loss_on, "share": share})


@pytest.mark.parametrize(("loss_on", "candidates"), [("masked", 48), ("all", 64)])
@pytest.mark.parametrize("share", [0.01, 0.25, 0.6])
def test_a_share_draws_exactly_as_many_different_patches(loss_on, candidates, share):
    model = cross(loss_on, share)
    images, noise = batch(model, size=5)
    output = model(images, noise)
    chosen = output.decoded[0].chosen
    assert chosen.shape == (5, max(1, round(share * candidates)))
    assert all(len(set(row.tolist())) == chosen.shape[1] for row in chosen)
    hidden = repeat_mask(output.mask, 2).gather(1, chosen)
    assert hidden.all() or loss_on == "all"


def test_every_patch_is_drawn_as_often():
    model = cross("all", share=0.25)
    decoder = model.decoders[0]
    samples = 4000
    noise = torch.rand(samples, model.noise_width, generator=torch.Generator().manual_seed(0))
    masking = model.mask(noise[:, :16])
    chosen = decoder.choose(masking, noise[:, 16:])
    rates = torch.zeros(samples, 64).scatter(1, chosen, 1.0).mean(dim=0)
    assert (rates - 0.25).abs().max() < 4.5 * (0.25 * 0.75 / samples) ** 0.5


@pytest.mark.parametrize("loss_on", ["masked", "all"])
def test_chosen_patches_are_predicted_as_if_all_were(loss_on):
    part = cross(loss_on, share=0.3).eval()
    whole = cross(loss_on).eval()
    whole.load_state_dict(part.state_dict())
    images, noise = batch(part)
    found = part(images, noise).decoded[0]
    every = whole.decoders[0](whole.encode(*_encoded(whole, images, noise))).pixels
    expected = every.gather(1, found.chosen.unsqueeze(-1).expand(-1, -1, every.shape[-1]))
    torch.testing.assert_close(found.pixels, expected, atol=1e-5, rtol=1e-5)


def _encoded(model, images, noise):
    return model.pyramid(images)[1], model.mask(noise[:, : model.patches])


@pytest.mark.parametrize("loss_on", ["masked", "all"])
def test_a_whole_share_gives_the_loss_over_all_patches_that_count(loss_on):
    almost, whole = cross(loss_on, share=0.9999), cross(loss_on)  # rounds to all of them
    images, noise = batch(almost)
    first, second = almost(images, noise), whole(images, noise[:, :16])
    assert almost.noise_width > whole.noise_width == 16
    torch.testing.assert_close(first.loss, second.loss)


def test_the_loss_of_a_share_is_right_on_average():
    part, whole = cross("masked", share=0.25), cross("masked")
    images, noise = batch(part, size=1)
    expected = whole(images, noise[:, :16]).loss.item()
    many = torch.rand(400, part.noise_width, generator=torch.Generator().manual_seed(0))
    many[:, :16] = noise[:, :16]
    found = part(images.expand(400, -1, -1, -1), many).loss.item()
    assert found == pytest.approx(expected, rel=0.02)


def test_cross_attention_on_its_own_tokens_is_timm_attention():
    ours, timm = CrossAttention(32, 4), Attention(32, num_heads=4, qkv_bias=True)
    with torch.no_grad():
        timm.qkv.weight.copy_(torch.cat([ours.q.weight, ours.kv.weight]))
        timm.qkv.bias.copy_(torch.cat([ours.q.bias, ours.kv.bias]))
    timm.proj.load_state_dict(ours.proj.state_dict())
    x = torch.randn(2, 9, 32)
    torch.testing.assert_close(ours(x, x), timm(x))


def test_a_coarse_patch_stands_at_the_center_of_the_fine_ones():
    coarse = sincos_2d(64, 4, step=2)[0].view(4, 4, 64)
    exact = torch.arange(4) * 2 + 0.5
    # The first quarter of the channels holds sines of the column; the first frequency is 1.
    torch.testing.assert_close(coarse[0, :, 0], exact.sin())
    assert torch.equal(sincos_2d(64, 4, step=1), sincos_2d(64, 4))


def flops(model):
    images, noise = batch(model, size=1)
    encoded = model.encode(*_encoded(model, images, noise))
    with metered(()) as meter:
        model.decoders[0](encoded)
    return meter.flops


def test_the_cost_of_the_cross_decoder_is_linear_in_the_patches():
    per_patch = {scale: flops(cross("all", scale=scale)) for scale in (1, 2, 4)}
    # Keys and values cost the same at every scale; the rest grows with the patches.
    first, second = per_patch[2] - per_patch[1], per_patch[4] - per_patch[2]
    assert second == 4 * first
    softmax = {
        scale: flops(build({"scale": scale, "attention": {"kind": "softmax"}, "depth": 2}))
        for scale in (1, 2, 4)
    }
    assert softmax[4] - softmax[2] > 5 * (softmax[2] - softmax[1])
