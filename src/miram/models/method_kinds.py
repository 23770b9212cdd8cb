"""The kinds of pretraining methods: what a method's block in the parameters becomes.

To add one: write its file (a configuration with a new ``kind`` and ``build`` beside the model),
and name its configuration in the registry below. Its name, color and paper: `miram.models.methods`.
"""

from typing import ClassVar, Literal

import torch
from torch import nn

from miram.configuration import Registry
from miram.models.backbone import TimmBackboneConfig
from miram.models.encoder import EncoderConfig
from miram.models.masked_autoencoder import MaskedAutoencoderConfig
from miram.models.method_config import MethodConfig
from miram.models.moco import MocoV3Config
from miram.models.supervised import SupervisedConfig


class RandomConfig(MethodConfig):
    """An encoder with fresh weights: what every other method has to beat."""

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


def build_on_meta_device(method: MethodConfig, encoder: EncoderConfig) -> nn.Module:
    """Make a method's model without storage: its shapes and no weights.

    Raises:
        MiramError: The parts do not fit each other.
    """
    with torch.device("meta"):
        return method.without_files().build(encoder, seed=0)
