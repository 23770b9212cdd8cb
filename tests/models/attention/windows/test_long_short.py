"""Half of the heads of long-short attention attend in blocks, the others across the grid."""

import pytest
import torch
from attention_checks import DIM, exact, heads

from miram.errors import MiramError
from miram.models.attention import LongShortConfig, long_short_attention
from miram.models.attention.base import TokenGrid


@pytest.mark.parametrize("prefix", [0, 2])
def test_one_block_of_the_whole_grid_gives_softmax(prefix: int) -> None:
    q, k, v = heads(2, 3, 4 * 6 + prefix, 4)
    out = long_short_attention(q, k, v, window=(4, 6), grid=TokenGrid(prefix, (4, 6)))
    torch.testing.assert_close(out, exact(q, k, v))


def test_first_heads_read_neighbors_and_the_others_tokens_apart() -> None:
    q, k, _ = heads(1, 4, 17, 4)
    reach = long_short_attention(
        q,
        k,
        torch.eye(17).double().expand(1, 4, -1, -1),  # the output is the attention matrix
        window=(2, 2),
        grid=TokenGrid(1, (4, 4)),
    )[0]
    for head, group in (
        (0, [0, 1, 4, 5]),
        (1, [0, 1, 4, 5]),
        (2, [0, 2, 8, 10]),
        (3, [0, 2, 8, 10]),
    ):
        for query in group:
            keys = [0, *(1 + token for token in group)]
            assert reach[head, 1 + query].nonzero().flatten().tolist() == keys
        assert (reach[head, 0] > 0).all()  # the prefix reads all tokens


def test_one_head_is_refused() -> None:
    with pytest.raises(MiramError, match="2 heads, near and far"):
        LongShortConfig().layer(1, (4, 4))(DIM, num_heads=1)
