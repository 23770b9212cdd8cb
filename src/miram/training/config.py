"""The budget of a training: how long, in which micro-batches and precision, kept how."""

import re
from collections.abc import Mapping
from typing import ClassVar, Literal, Self, TypeVar

from pydantic import BaseModel, Field, field_validator, model_validator

from miram.configuration import Config, Seeds
from miram.errors import MiramError
from miram.models.pretrained_weights.load import InitializationConfig
from miram.training.data.augmentation import AugmentationConfig
from miram.training.optimizer import OptimizerConfig

Precision = Literal["auto", "bf16", "fp16", "fp32"]
AUTO: Literal["auto"] = "auto"
LAST = "last"


class CheckpointConfig(Config):
    """How often the state of a running training is written down, to resume from."""

    every_minutes: float | None = Field(5.0, gt=0, description="null for never")
    every_epochs: int | None = Field(None, ge=1, description="null for never")


class TrainingConfig(Config):
    """The budget, the same for every method of a study.

    A step takes `effective_batch` samples. Where they do not fit into memory at once, they go
    through the model in micro-batches of `batch_size`, and gradients add up: the result is the
    same but for rounding. MoCo-v3 contrasts the samples of a step, so it takes them whole.
    """

    renamed: ClassVar[dict[str, str]] = {
        "crops_wait": "crop_cache",
        "watch_every": "validate_every",
    }

    epochs: int = Field(ge=1, description="passes over the crops")
    batch_size: int | Literal["auto"] = Field(
        description="samples that go through the model at once; auto: as many as memory holds"
    )
    effective_batch: int | None = Field(
        None, ge=1, description="samples per step, over all devices; batch_size if not given"
    )
    memory: str | None = Field(
        None, description="limit for batch_size auto, such as 12GB; what is free if not given"
    )
    seed: int = Field(0, ge=0, description="of weights, order of samples, masks and augmentation")
    seeds: Seeds = Field(
        (), description="train once per seed, joined by + in one text; empty: with `seed` alone"
    )
    hold_out_folds: bool = Field(
        False,
        description="under cross-validation, train an encoder for each fold of each repeat, "
        "without any image of the patients that it is evaluated on",
    )
    precision: Precision = Field(
        AUTO, description="auto: bf16 where the hardware multiplies in it, fp16 on older GPUs"
    )
    device: str = Field(
        AUTO,
        description="auto (a GPU of CUDA if there is one, else the CPU), cpu, cuda, cuda:1 or mps",
    )
    crop_cache: Literal["auto", "device", "host"] = Field(
        AUTO, description="where crops are kept; auto: on the device as long as they fit"
    )
    activation_checkpointing: bool = Field(
        False, description="compute activations again in the backward pass: less memory, slower"
    )
    compile: bool = Field(False, description="torch.compile: minutes at the start, faster steps")
    deterministic: bool = Field(False, description="refuse operations that vary between runs")
    ema_decay: float | None = Field(
        None, gt=0, lt=1, description="keep a moving average of the weights, which is the result"
    )
    on_nan: Literal["stop", "skip"] = Field(
        "stop", description="what a loss or gradient that is not finite does to the training"
    )
    max_skips: int = Field(10, ge=1, description="steps that on_nan: skip may leave out")
    log_every: int = Field(10, ge=1, description="steps between two logged records")
    validate_every: int | None = Field(
        None, ge=1, description="epochs between two validations; null for none"
    )
    select: str = Field(
        LAST, description="the result: the last state, or the best by a metric of validation"
    )
    resume: bool = Field(True, description="from what an earlier run left; false: start afresh")
    checkpoints: CheckpointConfig = CheckpointConfig()
    augmentation: AugmentationConfig = AugmentationConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    initialization: InitializationConfig = InitializationConfig()

    @field_validator("device")
    @classmethod
    def _known_device(cls, device: str) -> str:
        if not re.fullmatch(r"auto|cpu|cuda(:\d+)?|mps", device):
            raise ValueError("name auto, cpu, cuda, a GPU by its number such as cuda:1, or mps")
        return device

    @model_validator(mode="after")
    def _batches(self) -> Self:
        if self.batch_size == AUTO:
            if self.effective_batch is None:
                raise ValueError("batch_size auto needs effective_batch, the samples per step")
        elif self.batch_size < 1:
            raise ValueError(f"batch_size must be at least 1 or auto, got {self.batch_size}")
        elif self.effective_batch is not None and self.batch_size > self.effective_batch:
            raise ValueError(
                f"batch_size ({self.batch_size}) is above effective_batch ({self.effective_batch})"
            )
        return self

    @model_validator(mode="after")
    def _validated_to_select_by(self) -> Self:
        if self.select != LAST and (
            self.validate_every is None or self.validate_every > self.epochs
        ):
            raise ValueError(
                f"select {self.select} needs validate_every, at most epochs ({self.epochs})"
            )
        return self

    def each_seed(self) -> "tuple[TrainingConfig, ...]":
        """The budget of every training that is asked for, each with one seed."""
        return tuple(
            self.model_copy(update={"seed": seed, "seeds": ()})
            for seed in self.seeds or (self.seed,)
        )

    @property
    def samples_per_step(self) -> int:
        """Samples of one optimizer step, over all devices."""
        if self.effective_batch is not None:
            return self.effective_batch
        assert self.batch_size != AUTO
        return self.batch_size

    @property
    def micro_batch(self) -> int:
        """Samples that go through the model at once."""
        if self.batch_size == AUTO:
            raise ValueError("batch_size auto is not settled: see miram.training.memory_budget")
        return self.batch_size


# What may differ between a training and the one that resumes it: how it is validated and kept,
# and where and in which micro-batches it is computed. All else changes what is learned.
OPERATIONAL = {
    "activation_checkpointing",
    "batch_size",
    "checkpoints",
    "compile",
    "crop_cache",
    "device",
    "hold_out_folds",  # what is learned follows from the crops, which the identity names
    "log_every",
    "memory",
    "on_nan",
    "max_skips",
    "resume",
    "seeds",
    "validate_every",
}


def identity_of(config: TrainingConfig) -> dict[str, object]:
    """The settings on which the trained weights depend."""
    settings = config.model_dump(mode="json", exclude=OPERATIONAL)
    if config.select != LAST:
        settings["validate_every"] = config.validate_every  # the epochs that are candidates
    return {**settings, "effective_batch": config.samples_per_step}


Part = TypeVar("Part", bound=Config)


def recipe_of(method: BaseModel, training: TrainingConfig) -> TrainingConfig:
    """Put what a method has of `epochs`, `optimizer` and `augmentation` over the shared settings.

    Raises:
        MiramError: A setting is unknown or out of range.
    """
    return training.model_copy(
        update={
            "epochs": getattr(method, "epochs", None) or training.epochs,
            "optimizer": _over(training.optimizer, method, "optimizer"),
            "augmentation": _over(training.augmentation, method, "augmentation"),
        }
    )


def _over(shared: Part, method: BaseModel, name: str) -> Part:
    own: Mapping[str, float | None] = getattr(method, name, {})
    try:
        return type(shared).model_validate({**shared.model_dump(), **own})
    except MiramError as error:
        raise MiramError(f"method.{name}: {error}") from None
