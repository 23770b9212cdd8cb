"""What the configuration of every pretraining method offers, whatever its kind."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar

from pydantic import Field
from torch import nn

from miram.configuration import Config
from miram.models.encoder import EncoderConfig

Overrides = dict[str, float | None]


class MethodConfig(Config, ABC):
    """How an encoder is made; told apart by `kind`.

    Attributes:
        trained: Whether anything is learned from the study's data.
        needs_labels: Whether it learns from labels.
    """

    trained: ClassVar[bool] = True
    needs_labels: ClassVar[bool] = False

    kind: str

    def crop_size(self, encoder: EncoderConfig) -> int:
        """Height and width of the images that the model takes, in pixels."""
        return encoder.image_size

    @abstractmethod
    def build(self, encoder: EncoderConfig, seed: int) -> nn.Module:
        """Make the model, with fresh weights where it is trained.

        It has `encoder`, and is called as `miram.training.data.batches` says.

        Raises:
            MiramError: The parts do not fit each other.
        """

    def without_files(self) -> "MethodConfig":
        """The same method with fresh weights where it would read or download some."""
        return self

    def encoder_facts(self, encoder: EncoderConfig) -> dict[str, Any]:
        """What a checkpoint's header says of the encoder: `timm`, `image_size`, pixels."""
        return {
            "timm": encoder.timm_arguments,
            "image_size": encoder.image_size,
            **encoder.standardization.header(),
        }


class TrainedMethodConfig(MethodConfig):
    """A method with a training recipe of its own, as far as it differs from the shared one."""

    optimizer: Overrides = Field(default_factory=dict, description="over training.optimizer")
    augmentation: Overrides = Field(default_factory=dict, description="over training.augmentation")
