"""What is fine-tuned and by which recipe."""

from typing import Self

from pydantic import Field, model_validator

from miram.configuration import Config
from miram.finetuning.model import VALIDATION_AUC, Reading
from miram.models.pretrained_weights.load import InitializationConfig
from miram.training.config import AUTO, TrainingConfig
from miram.training.data.augmentation import AugmentationConfig
from miram.training.optimizer import OptimizerConfig


class RecipeConfig(Config):
    """A protocol of fine-tuning: whatever decides what is learned."""

    epochs: int = Field(ge=1, description="passes over the training lesions")
    batch_size: int = Field(ge=1, description="samples per step, over all devices")
    pooling: Reading = Field(
        description="what the head reads: patches for the mean of their tokens, cls, or attentive "
        "for tokens that it chooses itself"
    )
    frozen: bool = Field(False, description="train the head alone")
    drop_path: float = Field(ge=0, lt=1, description="rate in the last block, 0 in the first")
    patch_drop: float = Field(
        0.0, ge=0, lt=1, description="share of the patches that a training step leaves out"
    )
    optimizer: OptimizerConfig
    augmentation: AugmentationConfig

    def over(self, training: TrainingConfig) -> TrainingConfig:
        """Put the recipe over what all trainings share.

        Seed, device, precision, checkpoints and micro-batches stay. A moving average and public
        weights to start from are matters of pretraining and do not come along.
        """
        at_once = training.batch_size
        return training.model_copy(
            update={
                "epochs": self.epochs,
                "batch_size": at_once if at_once == AUTO else min(at_once, self.batch_size),
                "effective_batch": self.batch_size,
                "optimizer": self.optimizer,
                "augmentation": self.augmentation,
                "initialization": InitializationConfig(),
                "ema_decay": None,
                "validate_every": 1,
                "select": VALIDATION_AUC,
            }
        )


class FinetuningConfig(Config):
    """Which task is learned, by which of the recipes."""

    task: str = Field(description="one of the probe's tasks")
    recipe: str = Field(description="name of the recipe")
    recipes: dict[str, RecipeConfig] = Field(
        min_length=1, description="settings of each recipe by name"
    )
    validation_share: float = Field(
        gt=0, le=0.5, description="of a fold's training patients; the official split has its own"
    )

    @model_validator(mode="after")
    def _known(self) -> Self:
        if self.recipe not in self.recipes:
            raise ValueError(
                f"there is no recipe {self.recipe!r}: choose among {', '.join(self.recipes)}"
            )
        return self

    @property
    def chosen(self) -> RecipeConfig:
        """The recipe."""
        return self.recipes[self.recipe]
