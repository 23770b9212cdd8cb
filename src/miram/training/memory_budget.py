"""How many samples of a step go through the model at once: as many as memory holds.

On a GPU trial steps tell, of all samples, then of half as many, until one fits. On a CPU what the
forward pass keeps is added up without computing, as `miram describe` does it.
"""

import copy
import gc
import logging
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from miram.errors import MiramError
from miram.memory import free_memory, is_out_of_memory, parse_size, show_size
from miram.models.describe import kept_for_backward
from miram.training.activation_checkpointing import BLOCKS, recompute_activations
from miram.training.config import AUTO, TrainingConfig
from miram.training.data.batches import HostBatch, InputSpec, ModelOutput, Samples, make_batch
from miram.training.device import fastest_precision
from miram.training.optimizer import make_optimizer

log = logging.getLogger(__name__)

_CPU = torch.device("cpu")
_MASK_SIZE = 8  # of the lesion masks of a trial, whose size hardly matters

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
    store_size: int  # of the crops they are made of, in pixels
    training: TrainingConfig
    precision: str  # bf16, fp16 or fp32

    def batch(self, size: int, device: torch.device) -> dict[str, Any]:
        """Arguments of the model for blank crops."""
        spec, model = InputSpec.of(self.model), self.model
        several = (len(model.weights),) if getattr(model, "several", False) else ()  # type: ignore[arg-type]
        samples = Samples(
            torch.zeros(size, self.store_size, self.store_size, dtype=torch.uint16, device=device),
            np.arange(size),
            torch.zeros(size, *several, dtype=torch.int64, device=device),
            torch.zeros(size, _MASK_SIZE, _MASK_SIZE, dtype=torch.uint8, device=device),
            device,
        )
        blank = HostBatch(torch.arange(size), torch.zeros(size, spec.uniforms), None)
        # A trace cannot look at values, as a blur does.
        plain = self.training.augmentation.model_copy(update={"blur": 0.0})
        return make_batch(samples, blank, self.image_size, spec, plain)

    def forward(self, model: nn.Module, size: int, device: torch.device) -> Tensor:
        """Loss of blank crops, as the loop computes it."""
        half = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(self.precision)
        batch = self.batch(size, device)
        with torch.autocast(device.type, half, enabled=half is not None):
            output: ModelOutput = model(**batch)
        return output.loss


def measured_peak(trial: Trial, size: int, device: torch.device) -> int | None:
    """Bytes that a step takes on a GPU beside what was in use; None if memory ran out."""
    gc.collect()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    try:
        with torch.random.fork_rng([device]):
            _take_step(trial, size, device)
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        return None
    return torch.cuda.max_memory_allocated(device) - before


def _take_step(trial: Trial, size: int, device: torch.device) -> None:
    """Take a step with a copy of the model, and all that is there in a later one."""
    model = copy.deepcopy(trial.model).to(device).train()
    average = copy.deepcopy(model) if trial.training.ema_decay else None
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = make_optimizer(model, trial.training.optimizer, size)
    for weight in trained:
        weight.grad = torch.zeros_like(weight)
    optimizer.step()  # makes its moments
    with recompute_activations(model, trial.training.activation_checkpointing):
        trial.forward(model, size, device).backward()
    torch.nn.utils.get_total_norm([weight.grad for weight in trained if weight.grad is not None])
    optimizer.step()
    del average


def estimated_bytes(trial: Trial) -> tuple[int, int]:
    """Bytes whatever the batch, and bytes of each sample; nothing is computed.

    The former are weights, gradients, moments and moving average, the latter what the forward
    pass of a sample keeps for its backward pass.
    """
    weights = [w.nbytes for w in trial.model.parameters() if w.requires_grad]
    state = sum(w.nbytes for w in (*trial.model.parameters(), *trial.model.buffers()))
    fixed = state + 3 * sum(weights) + (state if trial.training.ema_decay else 0)
    model = copy.deepcopy(trial.model).to("meta").train()
    with FakeTensorMode(allow_non_fake_inputs=True):
        model.to_empty(device=_CPU)  # the fused kernels that are traced are chosen by device
        few, many = (_kept_bytes(trial, model, size) for size in (2, 4))
    per_image = (many - few) // 2
    return fixed + max(0, few - 2 * per_image), per_image


def _kept_bytes(trial: Trial, model: nn.Module, size: int) -> int:
    """Bytes for the backward pass; of a block that recomputes its input, and one block whole."""
    known = {weight.untyped_storage()._cdata for weight in model.parameters()}
    begun: list[int] = []
    blocks: list[tuple[int, int]] = []  # bytes that each keeps, bytes of its input
    with kept_for_backward() as kept:

        def total() -> int:
            return sum(t.untyped_storage().nbytes() for at, t in kept.items() if at not in known)

        def end(block: nn.Module, inputs: tuple[Tensor, ...], output: Any) -> None:
            if own := total() - begun.pop():
                blocks.append((own, inputs[0].nbytes))

        hooks = []
        for block in model.modules() if trial.training.activation_checkpointing else ():
            if isinstance(block, BLOCKS):
                hooks.append(block.register_forward_pre_hook(lambda *_: begun.append(total())))
                hooks.append(block.register_forward_hook(end))
        trial.forward(model, size, _CPU)
        found = total()
    for hook in hooks:
        hook.remove()
    if not blocks:
        return found
    return found - sum(own for own, _ in blocks) + sum(i for _, i in blocks) + max(blocks)[0]


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
    store_size: int,
    training: TrainingConfig,
    device: torch.device,
    *,
    resident: int = 0,
    processes: int = 1,
    neighbors: int = 1,
) -> Budget:
    """Find the largest micro-batch that memory holds.

    On a CPU the model may be on the meta device, and the estimate serves a GPU to be bought too.

    Args:
        model: As it will be trained.
        image_size: Of the images it takes, in pixels.
        store_size: Of the crops they are made of, in pixels.
        training: The recipe.
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
    trial = Trial(model, image_size, store_size, training, precision)
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
    fixed, per_image = (0, 0) if on_gpu else estimated_bytes(trial)

    def peak(size: int) -> int | None:
        return measured_peak(trial, size, device) if on_gpu else fixed + size * per_image

    size, taken = largest_batch(peak, usable, target)
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
