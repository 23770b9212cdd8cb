"""Attentions: one file each, one interface, one registry.

Every attention exists as a pure function on q, k, v of shape (B, H, N, D), as a module that can be
the ``attn_layer`` of timm's ``Block``, and as a configuration, named by ``kind``, that makes it:

    config = pydantic.TypeAdapter(AttentionConfig).validate_python({"kind": "nystrom"})
    block = Block(512, 16, attn_layer=config.layer(num_prefix_tokens=1, grid_size=(28, 28)))

To add one: write its file (a configuration with a new ``kind``, a function, a subclass of
``MultiHeadAttention``), and name its configuration in the union below.
"""

from typing import Annotated, get_args

from pydantic import Field

from miram.configuration import Config
from miram.models.attention.base import MultiHeadAttention
from miram.models.attention.focused_linear import FocusedLinearConfig, focused_linear_attention
from miram.models.attention.linformer import LinformerConfig, linformer_attention
from miram.models.attention.multi_axis import MultiAxisConfig, multi_axis_attention
from miram.models.attention.nystrom import NystromConfig, nystrom_attention
from miram.models.attention.performer import PerformerConfig, performer_attention
from miram.models.attention.softmax import SoftmaxConfig, softmax_attention

AnyAttentionConfig = (
    SoftmaxConfig
    | LinformerConfig
    | PerformerConfig
    | NystromConfig
    | MultiAxisConfig
    | FocusedLinearConfig
)
AttentionConfig = Annotated[AnyAttentionConfig, Field(discriminator="kind")]

ATTENTIONS: dict[str, type[Config]] = {
    config.model_fields["kind"].default: config for config in get_args(AnyAttentionConfig)
}

__all__ = [
    "ATTENTIONS",
    "AttentionConfig",
    "FocusedLinearConfig",
    "LinformerConfig",
    "MultiAxisConfig",
    "MultiHeadAttention",
    "NystromConfig",
    "PerformerConfig",
    "SoftmaxConfig",
    "focused_linear_attention",
    "linformer_attention",
    "multi_axis_attention",
    "nystrom_attention",
    "performer_attention",
    "softmax_attention",
]
