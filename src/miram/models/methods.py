"""The pretraining methods by kind: what a method's block in the parameters becomes.

A method that trains without labels has `crop_size(encoder)` and `build(encoder, seed)`; the
model it builds has `encoder` and is called as `miram.training.data.batches` says. To add one: its
configuration beside its class, and its name in the union below.
"""

from typing import Annotated, Literal

import torch
from pydantic import Field, RootModel
from torch import nn

from miram.configuration import Config
from miram.models.backbone import TimmBackboneConfig
from miram.models.encoder import EncoderConfig
from miram.models.masked_autoencoder import MaskedAutoencoderConfig
from miram.models.moco import MocoV3Config
from miram.models.supervised import SupervisedConfig


class RandomConfig(Config):
    """An encoder with fresh weights: what every other method has to beat."""

    kind: Literal["random"] = "random"

    def crop_size(self, encoder: EncoderConfig) -> int:
        """Side of the crops to look at, in pixels."""
        return encoder.image_size


FrozenMethodConfig = RandomConfig | TimmBackboneConfig
SelfSupervisedConfig = MaskedAutoencoderConfig | MocoV3Config
AnyMethodConfig = Annotated[
    RandomConfig | TimmBackboneConfig | MaskedAutoencoderConfig | MocoV3Config | SupervisedConfig,
    Field(discriminator="kind"),
]


class MethodConfig(RootModel[AnyMethodConfig]):
    """Any pretraining method, told apart by `kind`."""


def sketch(method: AnyMethodConfig, encoder: EncoderConfig) -> nn.Module:
    """Make a method's model without storage, on the device `meta`: its shapes and no weights.

    Args:
        method: The method; weights of a frozen model are not read.
        encoder: The encoder it trains.

    Raises:
        MiramError: The parts do not fit each other.
    """
    with torch.device("meta"):
        if isinstance(method, RandomConfig):
            return encoder.build(seed=0)
        if isinstance(method, TimmBackboneConfig):
            return method.model_copy(update={"pretrained": None}).build_encoder(seed=0)
        if isinstance(method, SupervisedConfig):
            return method.build_classifier(encoder, 0, torch.ones(2), several=False)
        return method.build(encoder, seed=0)
