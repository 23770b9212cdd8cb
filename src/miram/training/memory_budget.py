"""How many samples of a step go through the model at once: as many as memory holds.

On a GPU trial steps tell, of all samples, then of half as many, until one fits. On a CPU what the
forward pass keeps is added up without computing, as `miram describe` does it.
"""

import copy
import gc
import logging
import math
from collections.abc import Callable
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from miram.errors import MiramError
from miram.memory import free_memory, is_out_of_memory, parse_size, show_size
from miram.models.describe import kept_for_backward, traced
from miram.training.activation_checkpointing import BLOCKS, recompute_activations
from miram.training.config import AUTO, TrainingConfig
from miram.training.data.batches import InputSpec, ModelOutput
from miram.training.device import autocast, fastest_precision

log = logging.getLogger(__name__)

_CPU = torch.device("cpu")

# What is left of a limit. A measurement misses what the allocator loses between tensors. An
# estimate misses what the backward pass makes on its way, the process, or the context on a GPU.
_LEFT_OF_MEASURED = 0.05
_LEFT_OF_ESTIMATED, _LEFT_AT_LEAST = 0.15, 1_500_000_000


@dataclass(frozen=True)
class Budget:
    """How a step goes through the memory there is."""

    batch_size: int  # samples that go through the model at once
    accumulation: int  # micro-batches of a step; the last may be smaller
    peak: int  # bytes at the peak of a step
    limit: int  # bytes there are
    measured: bool  # on the device; otherwise estimated
    precision: str  # bf16, fp16 or fp32


@dataclass(frozen=True)
class Trial:
    """A training step but for the number of its samples."""

    model: nn.Module  # stays as it is, and for an estimate may be on the meta device
    image_size: int  # of the images the model takes, in pixels
    training: TrainingConfig
    precision: str  # bf16, fp16 or fp32

    def forward(self, model: nn.Module, size: int, device: torch.device) -> Tensor:
        """Loss of blank images, as the loop computes it."""
        spec = InputSpec.of(model)
        views = (spec.views,) if spec.views > 1 else ()
        images = torch.zeros(size, *views, 1, self.image_size, self.image_size, device=device)
        batch: dict[str, Any] = {"images": images}
        if spec.noise_width:
            batch["noise"] = torch.zeros(size, spec.noise_width, device=device)
        if spec.needs_labels:
            several = (len(model.weights),) if getattr(model, "several", False) else ()  # type: ignore[arg-type]
            batch["labels"] = torch.zeros(size, *several, dtype=torch.int64, device=device)
        if spec.needs_lesion:  # of any size, which hardly matters
            batch["lesion"] = torch.zeros(size, 8, 8, dtype=torch.uint8, device=device)
        with autocast(device.type, self.precision):
            output: ModelOutput = model(**batch)
        return output.loss


def measured_peak(trial: Trial, device: torch.device, size: int) -> int | None:
    """Bytes that a step takes on a GPU beside what was in use; None if memory ran out."""
    gc.collect()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    try:
        with torch.random.fork_rng([device]):
            _take_step(trial, device, size)
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        return None
    return torch.cuda.max_memory_allocated(device) - before


def _take_step(trial: Trial, device: torch.device, size: int) -> None:
    """Go forward and backward with a copy of the model, beside all that is there in a step."""
    model = copy.deepcopy(trial.model).to(device).train()
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    for weight in trained:
        weight.grad = torch.zeros_like(weight)
    beside: list[Any] = [torch.zeros_like(weight) for weight in trained for _ in "mv"]  # of Adam
    if trial.training.ema_decay:
        beside.append(copy.deepcopy(model))
    recomputes = trial.training.activation_checkpointing
    with recompute_activations(model) if recomputes else nullcontext():
        trial.forward(model, size, device).backward()


def estimated_bytes(trial: Trial) -> tuple[int, int]:
    """Bytes whatever the batch, and bytes of each sample; nothing is computed.

    The former are weights, gradients, moments and moving average, the latter what the forward
    pass of a sample keeps for its backward pass.
    """
    trained = sum(w.nbytes for w in trial.model.parameters() if w.requires_grad)
    state = sum(w.nbytes for w in (*trial.model.parameters(), *trial.model.buffers()))
    fixed = state + 3 * trained + (state if trial.training.ema_decay else 0)
    with traced(copy.deepcopy(trial.model).to("meta").train()) as model:
        few, many = (_kept_bytes(trial, model, size) for size in (2, 4))
    per_image = (many - few) // 2
    return fixed + max(0, few - 2 * per_image), per_image


def _kept_bytes(trial: Trial, model: nn.Module, size: int) -> int:
    """Bytes for the backward pass; of a block that recomputes its input, and one block whole."""
    begun: list[int] = []
    saved, largest = 0, 0  # bytes that all blocks give up, bytes of the block that keeps most
    with kept_for_backward(model.parameters()) as total, ExitStack() as hooks:

        def end(block: nn.Module, inputs: tuple[Tensor, ...], output: Any) -> None:
            nonlocal saved, largest
            if own := total() - begun.pop():
                saved, largest = saved + own - inputs[0].nbytes, max(largest, own)

        for block in model.modules() if trial.training.activation_checkpointing else ():
            if isinstance(block, BLOCKS):
                hooks.enter_context(
                    block.register_forward_pre_hook(lambda *_: begun.append(total()))
                )
                hooks.enter_context(block.register_forward_hook(end))
        trial.forward(model, size, _CPU)
        return total() - saved + largest


def largest_batch(
    peak: Callable[[int], int | None], usable: int, target: int
) -> tuple[int, int | None]:
    """Halve the samples of a step until their peak fits: samples, 0 if none fit, and the peak."""
    size, taken = target, peak(target)
    while taken is None or taken > usable:
        if size == 1:
            return 0, taken
        size = math.ceil(size / 2)
        taken = peak(size)
    return size, taken


def plan_budget(
    model: nn.Module,
    image_size: int,
    training: TrainingConfig,
    device: torch.device,
    *,
    resident: int = 0,
    processes: int = 1,
    neighbors: int = 1,
) -> Budget:
    """Find the largest micro-batch that memory holds.

    On a CPU the model may be on the meta device, and the estimate serves a GPU to be bought too.
    `resident` counts bytes that stay beside the training, such as crops still to be moved to the
    device. `processes` share a step, and `neighbors` of them the memory of this machine, where
    that is what counts.

    Raises:
        MiramError: Memory does not hold one image, or not the whole batch of a model that needs
            it; the message says what to change.
    """
    on_gpu, precision = device.type == "cuda", str(training.precision)
    if precision == AUTO:
        precision = fastest_precision(cpu=not on_gpu)
    trial = Trial(model, image_size, training, precision)
    limit = free_memory(device) // (1 if on_gpu else neighbors)
    if training.memory is not None:
        asked = parse_size(training.memory)
        # An estimate may be for another machine; steps are taken on this one.
        limit = min(limit, asked) if on_gpu else asked
    left = _LEFT_OF_MEASURED * limit if on_gpu else max(_LEFT_OF_ESTIMATED * limit, _LEFT_AT_LEAST)
    if processes > 1:  # they exchange gradients through a second copy
        resident += sum(weight.nbytes for weight in model.parameters() if weight.requires_grad)
    usable = max(0, int(limit - left) - resident)
    target = math.ceil(training.samples_per_step / processes)
    if on_gpu:
        size, taken = largest_batch(partial(measured_peak, trial, device), usable, target)
    else:
        fixed, per_image = estimated_bytes(trial)
        size, taken = largest_batch(lambda size: fixed + size * per_image, usable, target)
    whole = InputSpec.of(model).needs_whole_batch
    if size < (target if whole else 1):
        least = f"with one image a training takes {show_size(taken)}" if taken else "no image fits"
        fault = f"all {target} samples of a step must fit at once, as they are compared"
        raise MiramError(
            f"{fault if whole else least} ({show_size(limit)} of memory, with {show_size(usable)} "
            f"for a step): {'lower training.effective_batch, ' if whole else ''}set "
            "training.activation_checkpointing=true, lower encoder.image_size, or choose a smaller "
            "encoder.name or smaller decoders"
        )
    log.info("%d of the %d samples of a step fit at once", size, target)
    count = math.ceil(target / size)
    return Budget(size, count, (taken or 0) + resident, limit, on_gpu, precision)
