"""Attentions: one file each, one interface, one registry.

Every attention exists as a pure function on q, k, v of shape (B, H, N, D), as a module that can be
the ``attn_layer`` of timm's ``Block``, and as a configuration, named by ``kind``, that makes it:

    config = ATTENTIONS.model_validate({"kind": "nystrom"})
    block = Block(512, 16, attn_layer=config.layer(num_prefix_tokens=1, grid_size=(28, 28)))

To add one: write its file (a configuration with a new ``kind``, a function, a subclass of
``MultiHeadAttention``), and name its configuration in the registry below.
"""

from typing import Annotated

from miram.configuration import Registry
from miram.models.attention.affine import AffineConfig, affine_attention
from miram.models.attention.base import AttentionConfig, MultiHeadAttention
from miram.models.attention.focused_linear import FocusedLinearConfig, focused_linear_attention
from miram.models.attention.gated_conv import GatedConvConfig, gated_conv_attention
from miram.models.attention.linformer import LinformerConfig, linformer_attention
from miram.models.attention.lookup import LookupConfig, lookup_attention
from miram.models.attention.math import MathConfig, math_attention
from miram.models.attention.nystrom import NystromConfig, nystrom_attention
from miram.models.attention.performer import PerformerConfig, performer_attention
from miram.models.attention.softmax import SoftmaxConfig, softmax_attention
from miram.models.attention.windows.halo import HaloConfig, halo_attention
from miram.models.attention.windows.long_short import LongShortConfig, long_short_attention
from miram.models.attention.windows.multi_axis import MultiAxisConfig, multi_axis_attention
from miram.models.attention.windows.neighborhood import NeighborhoodConfig, neighborhood_attention
from miram.models.attention.windows.pyramid import PyramidConfig, pyramid_attention
from miram.models.attention.windows.varying_window import (
    VaryingWindowConfig,
    varying_window_attention,
)

ATTENTIONS: Registry[AttentionConfig] = Registry(
    "attention",
    SoftmaxConfig,
    MathConfig,
    LinformerConfig,
    PerformerConfig,
    NystromConfig,
    MultiAxisConfig,
    FocusedLinearConfig,
    LookupConfig,
    HaloConfig,
    NeighborhoodConfig,
    LongShortConfig,
    VaryingWindowConfig,
    PyramidConfig,
    GatedConvConfig,
    AffineConfig,
)
AnyAttention = Annotated[AttentionConfig, ATTENTIONS]

__all__ = [
    "ATTENTIONS",
    "AffineConfig",
    "AnyAttention",
    "AttentionConfig",
    "FocusedLinearConfig",
    "GatedConvConfig",
    "HaloConfig",
    "LinformerConfig",
    "LongShortConfig",
    "LookupConfig",
    "MathConfig",
    "MultiAxisConfig",
    "MultiHeadAttention",
    "NeighborhoodConfig",
    "NystromConfig",
    "PerformerConfig",
    "PyramidConfig",
    "SoftmaxConfig",
    "VaryingWindowConfig",
    "affine_attention",
    "focused_linear_attention",
    "gated_conv_attention",
    "halo_attention",
    "linformer_attention",
    "long_short_attention",
    "lookup_attention",
    "math_attention",
    "multi_axis_attention",
    "neighborhood_attention",
    "nystrom_attention",
    "performer_attention",
    "pyramid_attention",
    "softmax_attention",
    "varying_window_attention",
]
