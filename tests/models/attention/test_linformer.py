"""Linformer is exact attention on projected keys; fixed projections keep smooth images."""

import math
from typing import Any

import pytest
import torch
from attention_checks import DIM, HEADS, exact, heads, make
from pydantic import ValidationError

from miram.errors import MiramError
from miram.models.attention import LinformerConfig, linformer_attention
from miram.models.attention.base import TokenGrid
from miram.models.attention.linformer import cosine_resampling, fixed_projection


@pytest.mark.parametrize("kv_heads", [3, 1])
def test_equals_its_formula_and_with_identities_exact_attention(kv_heads: int) -> None:
    q, k, v = heads(2, 3, 9, 4)
    k, v = k[:, :kv_heads], v[:, :kv_heads]  # one head broadcasts over those of the queries
    e, f, _ = heads(5, 9, seed=1)
    eye = torch.eye(9).double()
    for one, two in ((e, f), (e, e), (eye, eye)):
        found = linformer_attention(q, k, v, one, two)
        torch.testing.assert_close(found, exact(q, one @ k, two @ v))


def test_compressing_to_more_tokens_than_there_are_is_refused() -> None:
    make(LinformerConfig(length=17))
    with pytest.raises(MiramError, match="length 18 is above the 17 tokens"):
        make(LinformerConfig(length=18))


def test_setting_of_the_authors_has_the_size_it_should() -> None:
    layer = LinformerConfig(one_kv_head=True, share_kv=True).layer(1, (28, 28))
    count = sum(p.numel() for p in layer(512, num_heads=16, qkv_bias=True).parameters())
    projections = (512 + 32) * (512 + 1) + 512 * (512 + 1)
    assert count == projections + 128 * 785


@pytest.mark.parametrize("projection", ["dct", "pool"])
@pytest.mark.parametrize("prefix", [0, 2])
def test_a_token_for_every_token_gives_softmax(projection: Any, prefix: int) -> None:
    layer = make(LinformerConfig(length=16, projection=projection), prefix=prefix).double()
    q, k, v = heads(2, HEADS, 16 + prefix, 8)
    torch.testing.assert_close(layer.attend(q, k, v), exact(q, k, v), rtol=0, atol=1e-6)


@pytest.mark.parametrize("projection", ["dct", "pool"])
def test_no_weight_depends_on_the_number_of_tokens(projection: Any) -> None:
    config = LinformerConfig(length=9, projection=projection)
    small, large = make(config, side=4), make(config, side=8)
    large.load_state_dict(small.state_dict())  # strict
    assert len(large.state_dict()) == 4  # qkv and proj


@pytest.mark.parametrize("projection", ["dct", "pool"])
def test_rows_are_averages_and_leave_the_prefix_alone(projection: Any) -> None:
    e = fixed_projection(projection, 12, TokenGrid(2, (6, 8)))
    assert e.shape == (14, 50)
    torch.testing.assert_close(e.sum(1), torch.ones(14).double())
    assert torch.equal(e[:2, :2], torch.eye(2).double())
    assert not e[2:, :2].any()
    assert not e[:2, 2:].any()


def test_pooling_takes_means_of_blocks() -> None:
    image = torch.randn(4, 6, generator=torch.Generator().manual_seed(0)).double()
    pooled = fixed_projection("pool", 6, TokenGrid(0, (4, 6))) @ image.flatten()
    blocks = [image[r : r + 2, c : c + 2].mean() for r in (0, 2) for c in (0, 2, 4)]
    torch.testing.assert_close(pooled, torch.stack(blocks))


def test_low_frequencies_are_kept_exactly_and_higher_ones_dropped() -> None:
    def wave(frequency: int, places: int) -> torch.Tensor:
        return (math.pi * frequency * (torch.arange(places).double() + 0.5) / places).cos()

    e = cosine_resampling(5, 12)
    for frequency in range(12):
        expected = wave(frequency, 5) if frequency < 5 else torch.zeros(5).double()
        torch.testing.assert_close(e @ wave(frequency, 12), expected)


def test_a_fixed_projection_for_keys_and_another_for_values_is_refused() -> None:
    with pytest.raises(ValidationError, match="same for keys and values"):
        LinformerConfig(projection="dct", share_projection=False)


def test_more_tokens_than_a_side_has_are_as_many_as_it_has() -> None:
    layer: Any = LinformerConfig(length=10, projection="pool").layer(1, (2, 8))(DIM, num_heads=4)
    assert layer.e.shape == (11, 17)  # 1 x 10 would be longer than a row of 8
