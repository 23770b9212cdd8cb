import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import ENCODER

from miram.errors import MiramError
from miram.models.images import gather_tokens
from miram.models.masking import (
    BlockMaskingConfig,
    LesionMaskingConfig,
    RandomMaskingConfig,
    hide_highest,
    patch_coverage,
    visible_patches,
)
from miram.models.methods.masked_autoencoder import MaskedAutoencoderConfig

RULES = [RandomMaskingConfig(), BlockMaskingConfig(side=2), LesionMaskingConfig(share=0.5)]


def mask_of(rule, samples, grid=8, ratio=0.75, lesion=None, seed=0):
    patches = grid * grid
    generator = torch.Generator().manual_seed(seed)
    noise = torch.rand(samples, rule.noise_width(patches), generator=generator)
    hidden = patches - visible_patches(patches, ratio)
    return hide_highest(rule.scores(noise, hidden, lesion), ratio)


def corner_lesion(samples, cells=16):
    """A lesion that covers the top left quarter of the image."""
    lesion = torch.zeros(samples, cells, cells, dtype=torch.uint8)
    lesion[:, : cells // 2, : cells // 2] = 255
    return lesion


@settings(max_examples=25, deadline=None)
@given(side=st.integers(2, 8), ratio=st.floats(0.05, 0.95))
def test_masking_keeps_the_patches_of_lowest_score(side, ratio):
    scores = torch.rand(3, side * side)
    masking = hide_highest(scores, ratio)
    visible = int(side * side * (1 - ratio))
    assert masking.keep.shape == (3, visible)
    assert torch.equal(masking.mask.sum(dim=1), torch.full((3,), side * side - visible).float())
    for row in range(3):
        lowest = set(np.argsort(scores[row].numpy())[:visible].tolist())
        assert set(masking.keep[row].tolist()) == lowest
        assert not masking.mask[row, masking.keep[row]].any()


def test_restore_puts_shuffled_tokens_back_in_their_places():
    scores, tokens = torch.rand(2, 9), torch.rand(2, 9, 4)
    masking = hide_highest(scores, 0.5)
    shuffled = gather_tokens(tokens, torch.argsort(scores, dim=1))
    assert torch.equal(gather_tokens(shuffled, masking.restore), tokens)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.kind)
def test_same_noise_same_mask_whatever_the_batch(rule):
    lesion = corner_lesion(6)
    whole = mask_of(rule, 6, lesion=lesion)
    assert torch.equal(whole.mask, mask_of(rule, 6, lesion=lesion).mask)
    assert torch.equal(whole.mask[:2], mask_of(rule, 2, lesion=lesion[:2]).mask)
    assert not torch.equal(whole.mask, mask_of(rule, 6, lesion=lesion, seed=1).mask)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.kind)
def test_without_a_lesion_every_patch_is_hidden_as_often(rule):
    samples, ratio = 4000, 0.7
    rates = mask_of(rule, samples, ratio=ratio).mask.mean(dim=0)
    expected = 1 - int(64 * (1 - ratio)) / 64
    deviation = (expected * (1 - expected) / samples) ** 0.5
    assert (rates - expected).abs().max() < 4.5 * deviation


def test_blocks_are_hidden_whole_but_for_one():
    masking = mask_of(BlockMaskingConfig(side=2), 200, ratio=0.7)  # 45 hidden: 11 blocks and 1
    blocks = masking.mask.view(-1, 4, 2, 4, 2).sum(dim=(2, 4)).flatten(1)
    assert ((blocks == 4).sum(dim=1) == 11).all()
    assert ((blocks > 0).sum(dim=1) == 12).all()


def test_within_the_block_hidden_in_part_every_patch_is_as_likely():
    masking = mask_of(BlockMaskingConfig(side=2), 4000, ratio=0.7)
    blocks = masking.mask.view(-1, 4, 2, 4, 2).permute(0, 1, 3, 2, 4).flatten(3)
    single = blocks[blocks.sum(dim=-1) == 1]
    assert len(single) == 4000
    assert (single.mean(dim=0) - 0.25).abs().max() < 4.5 * (0.25 * 0.75 / 4000) ** 0.5


def test_blocks_that_do_not_tile_the_grid_are_refused_with_sides_that_do():
    config = MaskedAutoencoderConfig(
        decoders=[{"scale": 1, "kind": "cross", "depth": 1, "heads": 2}],
        decoder_dim=32,
        masking={"kind": "block", "side": 3},
    )
    with pytest.raises(MiramError, match=r"side \(3\) does not divide .* 4 x 4.*: 2, 4"):
        config.build(ENCODER, seed=0)


def test_the_share_of_a_large_lesion_is_what_was_asked_for():
    # 16 of 64 patches are lesion, 32 are hidden: 8 drawn on it, the other 24 of 56 anywhere.
    masking = mask_of(LesionMaskingConfig(share=0.25), 3000, ratio=0.5, lesion=corner_lesion(3000))
    on_lesion = masking.mask.view(-1, 8, 8)[:, :4, :4].sum(dim=(1, 2))
    assert on_lesion.min() >= 8
    assert on_lesion.mean().item() == pytest.approx(8 + 24 * 8 / 56, abs=0.1)


def test_a_lesion_smaller_than_its_share_is_hidden_whole():
    lesion = torch.zeros(50, 16, 16, dtype=torch.uint8)
    lesion[:, 4:8, 4:8] = 255
    masking = mask_of(LesionMaskingConfig(share=0.5), 50, lesion=lesion)
    assert masking.mask.view(-1, 8, 8)[:, 2:4, 2:4].all()


def test_lesion_patches_are_drawn_in_proportion_to_their_coverage():
    lesion = torch.zeros(6000, 8, 8, dtype=torch.uint8)
    lesion[:, 0, 0], lesion[:, 7, 7] = 204, 51  # four to one
    noise = torch.rand(6000, 128, generator=torch.Generator().manual_seed(0))
    scores = LesionMaskingConfig(share=1.0).scores(noise, 1, lesion)  # one patch to draw
    first, second = (scores[:, 0] >= 1).float().mean(), (scores[:, 63] >= 1).float().mean()
    assert (first + second).item() == pytest.approx(1)
    assert first.item() == pytest.approx(0.8, abs=0.025)


def test_lesion_masking_without_a_lesion_is_random_masking():
    noise = torch.rand(5, 128)
    expected = RandomMaskingConfig().scores(noise[:, :64], 48, None)
    rule = LesionMaskingConfig()
    assert torch.equal(rule.scores(noise, 48, None), expected)
    empty = torch.zeros(5, 16, 16, dtype=torch.uint8)
    assert torch.equal(rule.scores(noise, 48, empty), expected)


def test_coverage_is_the_area_of_a_patch_under_the_lesion():
    lesion = torch.zeros(1, 6, 6, dtype=torch.uint8)
    lesion[0, 0, 0] = 255
    lesion[0, 3:, 3:] = 102
    expected = torch.tensor([[1 / 9, 0, 0, 0.4]])
    torch.testing.assert_close(patch_coverage(lesion, 2), expected)
    assert patch_coverage(lesion, 12).shape == (1, 144)
