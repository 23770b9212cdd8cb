"""Softmax attention is timm's."""

from typing import Any

import pytest
import torch
from attention_checks import DIM, HEADS, SIDE, tokens
from timm.layers import Attention as TimmAttention
from torch import nn

from miram.models.attention import SoftmaxConfig


@pytest.mark.parametrize("fused", [True, False])
def test_equals_timm_attention(fused: bool) -> None:
    torch.manual_seed(0)
    arguments: dict[str, Any] = {
        "num_heads": HEADS,
        "qkv_bias": True,
        "qk_norm": True,
        "scale_norm": True,
        "norm_layer": nn.LayerNorm,
    }
    timm = TimmAttention(DIM, **arguments)
    timm.fused_attn = fused  # type: ignore[misc]
    ours = SoftmaxConfig().layer(1, (SIDE, SIDE))(DIM, **arguments)
    ours.load_state_dict(timm.state_dict(), strict=True)
    torch.testing.assert_close(ours(tokens()), timm(tokens()), rtol=0, atol=1e-6)
