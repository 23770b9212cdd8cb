"""The gradients of one step, in micro-batches that memory holds."""

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
from miram.training.data.batches import HostBatch, InputSpec, ModelOutput, Prefetched
from miram.training.data.sampling import step_seed
from miram.training.device import seed_generators
from miram.training.logging.recorder import Metrics
from miram.training.sharpness import uphill

log = logging.getLogger(__name__)

MakeBatch = Callable[[HostBatch], dict[str, Any]]


class Gradients:
    """Adds up the gradients of a step; where memory runs out, in smaller micro-batches.

    The model may be in the wrapper that lets processes share gradients; `micro_batch` is of the
    samples that go through it at once.

    Raises:
        MiramError: The samples of a step cannot be cut into such micro-batches.
    """

    def __init__(
        self,
        model: nn.Module,
        accelerator: Accelerator,
        config: TrainingConfig,
        spec: InputSpec,
        make_batch: MakeBatch,
    ) -> None:
        self.model, self.accelerator, self.config = model, accelerator, config
        self.spec, self.make_batch = spec, make_batch
        samples, processes = config.samples_per_step, accelerator.num_processes
        if samples % processes:
            raise MiramError(
                f"{samples} samples per step do not share out evenly to {processes} workers: "
                "change training.effective_batch or engine.num_workers"
            )
        if spec.needs_whole_batch and config.micro_batch < samples:
            raise MiramError(
                "this method compares the samples of a step with each other, so they cannot go "
                "through in micro-batches: set training.batch_size to effective_batch "
                f"({samples})"
            )
        self.micro_batch = min(config.micro_batch, samples // processes)

    def add(self, step: Prefetched) -> Metrics:
        """Go forward and backward with all samples of a step; means of `loss` and single losses.

        With `optimizer.sharpness` the gradients are those found uphill, the losses those here.

        Raises:
            MiramError: Memory does not hold one sample, or not the whole batch of a model that
                needs it.
        """
        metrics = self._fitting(step)
        if self.config.optimizer.sharpness is not None:
            with uphill(self.model, self.config.optimizer.sharpness):
                self._fitting(step)
        return metrics

    def _fitting(self, step: Prefetched) -> Metrics:
        while True:
            try:
                return self._add(step)
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
                self._halve(len(step.batch), error)
            # Only now: what the failed micro-batch held is free once its error is forgotten.
            if self.accelerator.device.type == "cuda":
                torch.cuda.empty_cache()

    def _add(self, step: Prefetched) -> Metrics:
        metrics: Metrics = {}
        self.model.zero_grad()
        seed_generators(self.seed(step), self.accelerator.device)
        parts = step.batch.micro_batches(self.micro_batch)
        for place, part in enumerate(parts, start=1):
            weight = len(part) / len(step.batch)
            last = place == len(parts)
            # Processes exchange gradients once, with the last micro-batch.
            with nullcontext() if last else self.accelerator.no_sync(self.model):
                # In full precision: coordinates in bf16 would be wrong by up to a pixel.
                batch = self.make_batch(part)
                output: ModelOutput
                with self.accelerator.autocast():
                    output = self.model(**batch)
                self.accelerator.backward(output.loss * weight)
            for name, value in {"loss": output.loss, **output.losses}.items():
                metrics[name] = metrics.get(name, 0) + weight * value.detach()
        return metrics

    def seed(self, step: Prefetched) -> int:
        """Seed of whatever the model draws by itself in a step."""
        return step_seed(self.config.seed, step.step.number, self.accelerator.process_index)

    def _halve(self, share: int, error: RuntimeError) -> None:
        held = self.micro_batch
        if held == 1 or self.spec.needs_whole_batch or self.accelerator.num_processes > 1:
            raise MiramError(
                f"{self.accelerator.device} has too little memory for {held} samples at once: "
                "lower training.batch_size, set training.activation_checkpointing=true, or see "
                "what fits with `miram budget`"
            ) from error
        self.micro_batch = -(-held // 2)
        log.warning(
            "out of memory with %d samples at once: continuing with %d; a step still takes %d",
            held,
            self.micro_batch,
            share,
        )


@contextmanager
def room_for_moments(device: torch.device) -> Iterator[None]:
    """Say what helps if the optimizer, which makes its moments in the first step, has no room.

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
