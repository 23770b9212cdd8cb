"""The decoder of Hi-End-MAE."""

import pytest
import torch
import torch.nn.functional as F
from pydantic import ValidationError

from miram.errors import MiramError
from miram.models.decoders.hierarchical import quarter_points
from miram.models.encoder import EncoderConfig, encode_levels
from miram.models.methods.masked_autoencoder import MaskedAutoencoderConfig

DIM, HEADS = 32, 2


def encoder(depth):
    overrides = {"depth": depth, "embed_dim": 48, "num_heads": 2}
    return EncoderConfig(
        name="vit_tiny_patch16_224", image_size=32, patch_size=8, overrides=overrides
    )


def build(depth=12, **values):
    decoder = {"kind": "hierarchical", "scale": 1, "heads": HEADS, **values}
    config = MaskedAutoencoderConfig(decoders=[decoder], decoder_dim=DIM)
    return config.build(encoder(depth), seed=0).eval()


def encoded(model, size=2):
    generator = torch.Generator().manual_seed(0)
    side = model.config.crop_size(model.encoder_config)
    images = torch.randn(size, 1, side, side, generator=generator)
    masking = model.mask(torch.rand(size, model.patches, generator=generator))
    return model.encode(model.pyramid(images)[1], masking)


def attention(q, k, v):
    """Multi-head softmax attention, head by head."""
    heads = []
    for head in range(HEADS):
        part = slice(head * DIM // HEADS, (head + 1) * DIM // HEADS)
        weights = (q[:, part] @ k[:, part].T / (DIM // HEADS) ** 0.5).softmax(dim=-1)
        heads.append(weights @ v[:, part])
    return torch.cat(heads, dim=1)


def expected_patches(model, encoded, sample):
    """The paper's decoder for one image, token by token where it matters."""
    decoder, masking = model.decoders[0], encoded.masking
    visible = masking.keep[sample].tolist()
    grid = [encoded.mask_token[0, 0]] * model.patches
    for place, token in zip(visible, encoded.tokens[sample, 1:], strict=True):
        grid[place] = token
    tokens = torch.stack([encoded.tokens[sample, 0], *grid]) + decoder.positions[0]
    for block in decoder.blocks:
        tokens = block(tokens[None])[0]
    own = decoder.positions[0][[0, *(1 + place for place in visible)]]
    for level, block in zip((9, 6, 3), decoder.level_blocks, strict=True):
        memory = block.embed(block.norm_level(encoded.levels[level][sample])) + own
        q, k, v = block.attn.qkv(block.norm1(tokens)).chunk(3, dim=-1)
        tokens = tokens + block.attn.proj(attention(q, k, v))
        k, v = block.cross_attn.kv(memory).chunk(2, dim=-1)
        q = block.cross_attn.q(block.norm2(tokens))
        tokens = tokens + block.cross_attn.proj(attention(q, k, v))
        hidden = F.gelu(block.mlp.fc1(block.norm3(tokens)))
        tokens = tokens + block.mlp.fc2(hidden)
    return decoder.head(decoder.norm(tokens))[1:]


def test_the_defaults_read_12_then_9_6_and_3_as_in_the_papers_metric():
    model = build()
    found = encoded(model)
    patches = model.decoders[0](found).pixels
    for sample in range(2):
        expected = expected_patches(model, found, sample)
        torch.testing.assert_close(patches[sample], expected, atol=1e-5, rtol=1e-5)
    assert len(model.decoders[0].blocks) == 2


def test_only_the_levels_that_are_read_are_kept_of_a_number_of_levels_the_deepest():
    assert set(encoded(build()).levels) == {12, 9, 6, 3}
    assert set(encoded(build(4, encoder_levels=3)).levels) == {4, 3, 2}
    assert set(encoded(build(4, encoder_levels=(4, 1))).levels) == {4, 1}


def test_levels_are_the_residual_stream_and_the_last_one_is_normed():
    vit = encoder(3).build(seed=0).eval()
    images, keep = torch.randn(2, 1, 32, 32), torch.arange(16).expand(2, -1)
    levels = encode_levels(vit, images, keep, (1, 2))
    expected = vit.forward_intermediates(
        images, indices=[0, 1, 2], output_fmt="NLC", return_prefix_tokens=True, norm=False
    )
    for level, (tokens, prefix) in zip((1, 2), expected[1], strict=False):
        torch.testing.assert_close(levels[level], torch.cat([prefix, tokens], dim=1))
    torch.testing.assert_close(levels[3], expected[0])


@pytest.mark.parametrize("level", [1, 2])
def test_every_level_changes_the_prediction(level):
    model = build(3, encoder_levels=(3, 2, 1))
    found = encoded(model)
    before = model.decoders[0](found).pixels
    found.levels[level] = found.levels[level].flip(1)
    assert not torch.allclose(before, model.decoders[0](found).pixels, atol=1e-4)


def test_a_linear_attention_serves_at_scale_2():
    model = build(2, encoder_levels=(2, 1), scale=2, attention={"kind": "nystrom"})
    assert model.decoders[0](encoded(model)).pixels.shape == (2, 64, 64)


@pytest.mark.parametrize(
    ("depth", "levels", "message"),
    [
        (6, (12, 9, 6, 3), r"block 12, which does not exist.*6 blocks; begin with 6"),
        (12, (9, 6, 3), "block 9, which leaves the blocks after it untrained.*begin with 12"),
    ],
)
def test_levels_that_do_not_fit_the_encoder_are_refused_with_some_that_do(depth, levels, message):
    with pytest.raises(MiramError, match=message):
        build(depth, encoder_levels=levels)


@pytest.mark.parametrize("depth", [1, 2, 3, 4, 6, 12, 24])
def test_the_default_levels_follow_the_depth_of_the_encoder(depth):
    assert quarter_points(12) == (12, 9, 6, 3)
    model = build(depth)
    assert set(encoded(model).levels) == set(quarter_points(depth))
    assert model.decoders[0](encoded(model)).pixels.shape == (2, 16, 64)


@pytest.mark.parametrize("levels", [(3, 6, 9, 12), (12, 12, 3), (3, 0), (3,), 1, 5])
def test_levels_out_of_order_are_refused(levels):
    with pytest.raises(ValidationError, match="encoder_levels"):
        build(encoder_levels=levels)
