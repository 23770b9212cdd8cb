"""Half of the heads of long-short attention attend in blocks, the others across the grid."""

import pytest
from attention_checks import DIM, weights

from miram.errors import MiramError
from miram.models.attention import LongShortConfig, long_short_attention
from miram.models.attention.base import TokenGrid


def test_first_heads_read_neighbors_and_the_others_tokens_apart() -> None:
    reach = weights(long_short_attention, TokenGrid(1, (4, 4)), 4, window=(2, 2))
    near, far = [0, 1, 4, 5], [0, 2, 8, 10]
    for head, group in enumerate((near, near, far, far)):
        for query in group:
            keys = [0, *(1 + token for token in group)]
            assert reach[head, 1 + query].nonzero().flatten().tolist() == keys
        assert (reach[head, 0] > 0).all()  # the prefix reads all tokens


def test_one_head_is_refused() -> None:
    with pytest.raises(MiramError, match="2 heads, near and far"):
        LongShortConfig().layer(1, (4, 4))(DIM, num_heads=1)
