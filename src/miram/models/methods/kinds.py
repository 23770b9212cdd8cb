"""The kinds of pretraining methods: what a method's block in the parameters becomes.

To add one: write its file (a configuration with a new ``kind`` and ``build`` beside the model),
and name its configuration in the registry below. Its name, color and paper: `miram.models.methods`.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import torch
from torch import nn

from miram.configuration import Registry
from miram.errors import MiramError
from miram.models.encoder import EncoderConfig
from miram.models.methods.backbone import TimmBackboneConfig
from miram.models.methods.config import MethodConfig
from miram.models.methods.masked_autoencoder import MaskedAutoencoderConfig
from miram.models.methods.moco import MocoV3Config
from miram.models.methods.supervised import SupervisedConfig


class RandomConfig(MethodConfig):
    """An encoder with fresh weights: the baseline that every trained method should exceed."""

    trained: ClassVar[bool] = False

    kind: Literal["random"] = "random"

    def build(self, encoder: EncoderConfig, seed: int) -> nn.Module:
        """Make the encoder, as the only part of a model."""
        return nn.ModuleDict({"encoder": encoder.build(seed)})


METHOD_KINDS: Registry[MethodConfig] = Registry(
    "method",
    RandomConfig,
    TimmBackboneConfig,
    MaskedAutoencoderConfig,
    MocoV3Config,
    SupervisedConfig,
)


def methods_of(parameters: Mapping[str, Any], name: str | None = None) -> dict[str, MethodConfig]:
    """The methods of a project's parameters by name, or one of them.

    Raises:
        MiramError: There is no such method, or a setting is impossible.
    """
    blocks = {
        key: block["method"]
        for key, block in parameters.items()
        if isinstance(block, dict) and "method" in block
    }
    if name is not None and name not in blocks:
        raise MiramError(f"there is no method {name!r}: one of {', '.join(blocks)}")
    wanted = blocks if name is None else (name,)
    return {key: METHOD_KINDS.model_validate(blocks[key]) for key in wanted}


def build_on_meta_device(method: MethodConfig, encoder: EncoderConfig) -> nn.Module:
    """Make a method's model without storage: its shapes and no weights.

    Raises:
        MiramError: The parts do not fit each other.
    """
    with torch.device("meta"):
        return method.without_files().build(encoder, seed=0)
