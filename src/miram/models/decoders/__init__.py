"""Decoders: one file each, one interface, one registry.

A decoder reads an :class:`EncodedImage` and predicts patches at its own scale:

    self          all tokens attend to all tokens, with any attention (MAE, MIRAM)
    cross         each patch reads the visible tokens only (after CrossMAE)
    hierarchical  tokens read several levels of the encoder (Hi-End-MAE)

To add one: write its file (a configuration with a new ``kind`` and ``build``, a subclass of
``Decoder``), and name its configuration in the registry below.
"""

from typing import Annotated

from miram.configuration import Registry
from miram.models.decoders.base import (
    DecodedPatches,
    Decoder,
    DecoderConfig,
    DecoderSizes,
    EncodedImage,
)
from miram.models.decoders.cross import CrossDecoder, CrossDecoderConfig
from miram.models.decoders.hierarchical import HierarchicalDecoder, HierarchicalDecoderConfig
from miram.models.decoders.self_attention import SelfDecoder, SelfDecoderConfig

DECODERS: Registry[DecoderConfig] = Registry(
    "decoder", SelfDecoderConfig, CrossDecoderConfig, HierarchicalDecoderConfig, default="self"
)
AnyDecoder = Annotated[DecoderConfig, DECODERS]

__all__ = [
    "DECODERS",
    "AnyDecoder",
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
