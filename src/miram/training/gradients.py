"""The gradients of one step, in portions that memory holds."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from accelerate import Accelerator
from torch import nn

from miram.errors import MiramError
from miram.memory import is_out_of_memory
from miram.training.config import TrainingConfig
from miram.training.data.batches import ModelOutput, Needs, Portion
from miram.training.data.prefetch import Served
from miram.training.data.sampling import step_seed
from miram.training.logging.recorder import StepMetrics

log = logging.getLogger(__name__)

MakeBatch = Callable[[Portion], dict[str, Any]]


class Gradients:
    """Adds up the gradients of a step; where memory runs out, in smaller portions.

    Args:
        model: What to call, perhaps in the wrapper that lets processes share gradients.
        accelerator: Where and how.
        config: The budget.
        needs: What the model declares.
        make_batch: Makes the model's arguments for a portion.

    Attributes:
        portion: Samples that go through the model at once.

    Raises:
        MiramError: The samples of a step cannot be cut into these portions.
    """

    def __init__(
        self,
        model: nn.Module,
        accelerator: Accelerator,
        config: TrainingConfig,
        needs: Needs,
        make_batch: MakeBatch,
    ) -> None:
        self.model, self.accelerator, self.config = model, accelerator, config
        self.needs, self.make_batch = needs, make_batch
        self.portion = first_portion(config, needs, accelerator.num_processes)

    def add(self, served: Served) -> StepMetrics:
        """Go forward and backward with all samples of a step.

        Raises:
            MiramError: Memory does not hold one sample, or not the whole batch of a model that
                needs it.
        """
        while True:
            try:
                return self._add(served)
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
                self._halve(len(served.portion), error)
            # Only now: what the failed portion held is free once its error is forgotten.
            if self.accelerator.device.type == "cuda":
                torch.cuda.empty_cache()

    def _add(self, served: Served) -> StepMetrics:
        metrics = StepMetrics()
        self.model.zero_grad()
        torch.manual_seed(self.seed(served))
        portions = served.portion.split(self.portion)
        for place, portion in enumerate(portions, start=1):
            weight = len(portion) / len(served.portion)
            last = place == len(portions)
            # Processes exchange gradients once, with the last portion.
            with nullcontext() if last else self.accelerator.no_sync(self.model):
                # In full precision: coordinates in bf16 would be wrong by up to a pixel.
                batch = self.make_batch(portion)
                output: ModelOutput
                with self.accelerator.autocast():
                    output = self.model(**batch)
                self.accelerator.backward(output.loss * weight)
            metrics.add({"loss": output.loss, **output.losses}, weight)
        return metrics

    def seed(self, served: Served) -> int:
        """Seed of whatever the model draws by itself in a step."""
        return step_seed(self.config.seed, served.step.number, self.accelerator.process_index)

    def _halve(self, share: int, error: RuntimeError) -> None:
        held = self.portion
        if held == 1 or self.needs.needs_whole_batch or self.accelerator.num_processes > 1:
            raise MiramError(
                f"{self.accelerator.device} has too little memory for {held} samples at once: "
                "lower training.batch_size, set training.activation_checkpointing=true, or see "
                "what fits with `miram budget`"
            ) from error
        self.portion = -(-held // 2)
        log.warning(
            "out of memory with %d samples at once: going on with %d; a step still takes %d",
            held,
            self.portion,
            share,
        )


@contextmanager
def room_for_moments(device: torch.device) -> Iterator[None]:
    """Tell what helps if the optimizer, which makes its moments in the first step, has no room.

    Args:
        device: Where it makes them.

    Raises:
        MiramError: Memory does not hold them.
    """
    try:
        yield
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        raise MiramError(
            f"{device} has too little memory for the optimizer, which keeps two numbers of each "
            "weight; a lower training.batch_size does not help. Choose a smaller encoder.name or "
            "smaller decoders, set training.ema_decay=null or training.crop_cache=host, or see "
            "what fits with `miram budget`"
        ) from error


def first_portion(config: TrainingConfig, needs: Needs, processes: int) -> int:
    """Samples that go through the model at once, as long as memory holds them.

    Args:
        config: The budget.
        needs: What the model declares.
        processes: How many share a step.

    Raises:
        MiramError: The samples of a step cannot be cut into such portions.
    """
    samples = config.samples_per_step
    if samples % processes:
        raise MiramError(
            f"{samples} samples per step do not share out evenly to {processes} workers: change "
            "training.effective_batch or engine.num_workers"
        )
    if needs.needs_whole_batch and config.portion < samples:
        raise MiramError(
            "this method compares the samples of a step with each other, so they cannot go "
            f"through in portions: set training.batch_size to effective_batch ({samples})"
        )
    return min(config.portion, samples // processes)
