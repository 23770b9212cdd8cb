"""Decoders: one file each, one interface, one registry.

A decoder reads an :class:`EncodedImage` and predicts patches at its own scale:

    self          all tokens attend to all tokens, with any attention (MAE, MIRAM)
    cross         each patch reads the visible tokens only (after CrossMAE)
    hierarchical  tokens read several levels of the encoder (Hi-End-MAE)

To add one: write its file (a configuration with a new ``kind`` and ``build``, a subclass of
``Decoder``), and name its configuration in the union below.
"""

from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from miram.models.decoders.base import (
    DecodedPatches,
    Decoder,
    DecoderSizes,
    EncodedImage,
)
from miram.models.decoders.cross import CrossDecoder, CrossDecoderConfig
from miram.models.decoders.hierarchical import HierarchicalDecoder, HierarchicalDecoderConfig
from miram.models.decoders.self_attention import SelfDecoder, SelfDecoderConfig


def _self_by_default(values: Any) -> Any:
    return {"kind": "self", **values} if isinstance(values, dict) else values


DecoderConfig = Annotated[
    Annotated[
        SelfDecoderConfig | CrossDecoderConfig | HierarchicalDecoderConfig,
        Field(discriminator="kind"),
    ],
    BeforeValidator(_self_by_default),
]

__all__ = [
    "CrossDecoder",
    "CrossDecoderConfig",
    "DecodedPatches",
    "Decoder",
    "DecoderConfig",
    "DecoderSizes",
    "EncodedImage",
    "HierarchicalDecoder",
    "HierarchicalDecoderConfig",
    "SelfDecoder",
    "SelfDecoderConfig",
]
