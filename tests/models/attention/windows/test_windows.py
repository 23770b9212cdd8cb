"""Attention within windows is softmax where a window is the whole grid."""

from typing import Any

import pytest
import torch
from attention_checks import exact, heads

from miram.models import attention
from miram.models.attention.base import TokenGrid


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("halo", {"window": 2, "halo": 9}),
        ("neighborhood", {"kernel": 7, "dilations": (1,)}),
        ("neighborhood", {"kernel": 20, "dilations": (1,)}),
        ("pyramid", {"cell": 7, "cells": 1}),
        ("pyramid", {"cell": 3, "cells": 3}),
        ("pyramid", {"cell": 2, "cells": 4}),
        ("long_short", {"window": (5, 7)}),
        ("varying_window", {"window": 7, "ratio": 1}),
    ],
)
@pytest.mark.parametrize("prefix", [0, 2])
def test_a_window_that_covers_the_grid_gives_softmax(
    kind: str, settings: dict[str, Any], prefix: int
) -> None:
    grid = TokenGrid(prefix, (5, 7))
    q, k, v = heads(2, 3, grid.num_tokens, 4)
    out = getattr(attention, f"{kind}_attention")(q, k, v, grid, **settings)
    torch.testing.assert_close(out, exact(q, k, v))
