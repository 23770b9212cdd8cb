"""In which portions the samples of a step go through the memory there is, and why."""

import logging
import math
from dataclasses import dataclass
from functools import partial

import torch
from torch import nn

from miram.errors import MiramError
from miram.memory import free_memory, parse_size, show_size
from miram.training.config import AUTO, TrainingConfig
from miram.training.data.batches import Needs
from miram.training.device import fastest_precision
from miram.training.memory.portions import Choice, choose
from miram.training.memory.step_memory import StepKind, measured_peak, traced_peak

log = logging.getLogger(__name__)

# What is left of a limit. A measurement misses what the allocator loses between tensors. An
# estimate misses the process as well, or the context on a GPU, and what the C library does not
# give back at once: on Linux up to 0.75 GB was seen, of steps that take 0.2 to 5 GB.
_LEFT_OF_MEASURED = 0.05
_LEFT_OF_ESTIMATED, _LEFT_AT_LEAST = 0.15, 1_500_000_000


@dataclass(frozen=True)
class Budget:
    """How a step goes through the memory there is.

    Attributes:
        batch_size: Samples that go through the model at once.
        accumulation: Portions of a step; the last may be smaller.
        activation_checkpointing: Whether activations are computed again in the backward pass.
        bytes_fixed: Weights, gradients, moments, crops on the device: whatever the batch.
        bytes_per_image: What each image of a portion adds at the peak.
        limit: Bytes there are.
        measured: Whether steps were taken on the device; otherwise estimated.
        precision: bf16, fp16 or fp32, that the metrics are for.
        reason: Why so, in a sentence.
    """

    batch_size: int
    accumulation: int
    activation_checkpointing: bool
    bytes_fixed: int
    bytes_per_image: int
    limit: int
    measured: bool
    precision: str
    reason: str

    @property
    def peak(self) -> int:
        """Bytes at the peak of a step."""
        return self.bytes_fixed + self.batch_size * self.bytes_per_image

    def applied(self, training: TrainingConfig) -> TrainingConfig:
        """The recipe with what was decided here; a step takes as many samples as before."""
        return training.model_copy(
            update={
                "batch_size": self.batch_size,
                "effective_batch": training.samples_per_step,
                "activation_checkpointing": self.activation_checkpointing,
            }
        )


def plan_budget(
    model: nn.Module,
    side: int,
    store_size: int,
    training: TrainingConfig,
    device: torch.device,
    *,
    resident: int = 0,
    processes: int = 1,
    neighbors: int = 1,
) -> Budget:
    """Find the largest portions of a step that memory holds.

    On a GPU a few steps are taken with a copy of the model. On a CPU nothing is computed; the
    model may be without storage, and the estimate serves a GPU to be bought as well.

    Args:
        model: As it will be trained.
        side: Side of the images it takes, in pixels.
        store_size: Side of the crops they are made of.
        training: The recipe: `samples_per_step`, `memory`, `precision`, `ema_decay` and more.
            With `activation_checkpointing` activations are recomputed in any case.
        device: Where it is trained.
        resident: Bytes that stay beside the training, such as crops still to be moved there.
        processes: Devices that share a step.
        neighbors: How many of them share the memory of this machine, where that is what counts.

    Raises:
        MiramError: Memory does not hold one image, or not the whole batch of a model that needs
            it; the message says what to change.
    """
    on_gpu = device.type == "cuda"
    precision: str = training.precision
    if precision == AUTO:
        precision = fastest_precision(cpu=not on_gpu)
    kind = StepKind(model, side, store_size, training, precision)
    peak = partial(measured_peak, kind, device=device) if on_gpu else partial(traced_peak, kind)
    limit = _limit(training, device, neighbors)
    if processes > 1:  # they exchange gradients through a second copy
        resident += sum(weight.nbytes for weight in model.parameters() if weight.requires_grad)
    left = _LEFT_OF_MEASURED * limit if on_gpu else max(_LEFT_OF_ESTIMATED * limit, _LEFT_AT_LEAST)
    usable = int(limit - left) - resident
    target = math.ceil(training.samples_per_step / processes)
    whole = Needs.of(model).needs_whole_batch
    choice = choose(
        peak, usable, target, whole=whole, always_recompute=training.activation_checkpointing
    )
    if choice.line is None or choice.batch < (target if whole else 1):
        have = f"{show_size(limit)} of memory, with {show_size(max(0, usable))} for a step"
        raise MiramError(f"{_fault(choice, usable, target)} ({have}): {_remedy(model, choice)}")
    log.info("%d samples at once: %s", choice.batch, choice.reason)
    return Budget(
        batch_size=choice.batch,
        accumulation=math.ceil(target / choice.batch),
        activation_checkpointing=choice.recompute,
        bytes_fixed=int(choice.line.fixed) + resident,
        bytes_per_image=int(choice.line.per_image),
        limit=limit,
        measured=on_gpu,
        precision=precision,
        reason=choice.reason,
    )


def _limit(training: TrainingConfig, device: torch.device, neighbors: int) -> int:
    if training.memory is None:
        return free_memory(device) // (1 if device.type == "cuda" else neighbors)
    limit = parse_size(training.memory)
    # An estimate may be for another machine; steps are taken on this one.
    return min(limit, free_memory(device)) if device.type == "cuda" else limit


def _fault(choice: Choice, usable: int, target: int) -> str:
    if choice.batch:
        return (
            f"all {target} samples of a step must fit at once, as they are compared with each "
            f"other, but only {choice.batch} do, even with activations recomputed"
        )
    if choice.line is None:
        return "not even two images fit"
    if choice.line.fixed > usable:
        return f"without any image a training takes {show_size(choice.line.fixed)}"
    least = choice.line.fixed + choice.line.per_image
    return f"with one image a training takes {show_size(least)}"


def _remedy(model: nn.Module, choice: Choice) -> str:
    if choice.batch:
        return (
            f"set training.effective_batch to {choice.batch} or less, or lower encoder.image_size"
        )
    smaller = "lower encoder.image_size, or choose a smaller encoder.name"
    if hasattr(model, "decoders"):
        return f"{smaller}, a lower depth or scale of the decoders, or kind cross with a low share"
    return smaller
