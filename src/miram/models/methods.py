"""The pretraining methods by kind: what a method's block in the parameters becomes."""

from typing import Annotated, Literal

from pydantic import Field, RootModel

from miram.configuration import Config
from miram.models.encoder import EncoderConfig
from miram.models.masked_autoencoder import MaskedAutoencoderConfig


class RandomConfig(Config):
    """An encoder with fresh weights: what every other method has to beat."""

    kind: Literal["random"] = "random"

    def crop_side(self, encoder: EncoderConfig) -> int:
        """Side of the crops to look at, in pixels."""
        return encoder.image_side


AnyMethodConfig = Annotated[RandomConfig | MaskedAutoencoderConfig, Field(discriminator="kind")]


class MethodConfig(RootModel[AnyMethodConfig]):
    """Any pretraining method, told apart by `kind`."""
