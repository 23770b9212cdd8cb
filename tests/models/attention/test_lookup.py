"""Lookup attention is two exact attentions through the pooled tokens."""

import torch
from attention_checks import HEADS, exact, heads, make

from miram.models.attention import LookupConfig, lookup_attention


def test_equals_its_formula() -> None:
    q, k, v = heads(2, 3, 9, 4)
    p, _, _ = heads(2, 3, 5, 4, seed=1)
    torch.testing.assert_close(lookup_attention(q, k, v, p), exact(q, p, exact(p, k, v)))


def test_keys_as_pooled_tokens_give_the_square_of_attention() -> None:
    q, _, v = heads(2, 3, 9, 4)
    matrix = (q @ q.mT / 2).softmax(-1)
    torch.testing.assert_close(lookup_attention(q, q, v, q), matrix @ matrix @ v)


def test_one_pooled_token_gives_all_tokens_what_it_reads() -> None:
    layer = make(LookupConfig(length=1)).double()
    q, k, v = heads(2, HEADS, 17, 8)
    reads = exact(q[:, :, 1:].mean(2, keepdim=True), k, v)  # the prefix is not pooled, but read
    torch.testing.assert_close(layer.attend(q, k, v), reads.expand_as(q))


def test_a_pooled_token_per_token_of_the_grid_is_its_query() -> None:
    layer = make(LookupConfig(length=16), prefix=0).double()
    q, k, v = heads(2, HEADS, 16, 8)
    torch.testing.assert_close(layer.attend(q, k, v), exact(q, q, exact(q, k, v)))
