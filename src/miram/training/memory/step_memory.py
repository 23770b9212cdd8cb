"""What a training step takes at its peak: measured on a GPU, traced without computing elsewhere.

A trace runs the code of a step with tensors that have shapes only, and adds up what is alive after
each operation: weights, gradients, AdamW's moments, a moving average, a momentum encoder, images,
activations, and whatever the backward pass makes on its way.
"""

import copy
import gc
import weakref
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

from miram.training.activation_checkpointing import recompute_activations
from miram.training.config import TrainingConfig
from miram.training.data.batches import ModelOutput, Needs, Portion, Samples, make_batch
from miram.training.optimizer import make_optimizer

_CPU = torch.device("cpu")
_HALVES = {"bf16": torch.bfloat16, "fp16": torch.float16}
_LESION_SIDE = 8  # of the lesion masks of a trace, whose size hardly matters


@dataclass(frozen=True)
class StepKind:
    """A training step but for the number of its samples.

    Attributes:
        model: What is trained; it stays as it is, and may be without storage for a trace.
        side: Side of the images the model takes, in pixels.
        store_size: Side of the crops they are made of.
        training: Optimizer, augmentation and moving average.
        precision: bf16, fp16 or fp32.
    """

    model: nn.Module
    side: int
    store_size: int
    training: TrainingConfig
    precision: str


def traced_peak(kind: StepKind, batch: int, recompute: bool) -> int:
    """Add up what a step on the CPU would take, in a second or two and without its memory.

    Left out are the buffers that operations take and give back within, and what the allocator
    loses between tensors. A trace cannot look at values, so images are not blurred in it.

    Args:
        kind: The step.
        batch: Samples that go through the model at once.
        recompute: Whether activations are computed again in the backward pass.

    Returns:
        Bytes.
    """
    plain = kind.training.augmentation.model_copy(update={"blur": 0.0})
    training = kind.training.model_copy(update={"augmentation": plain})
    model = _without_storage(kind.model)
    with FakeTensorMode(allow_non_fake_inputs=True), _LiveBytes() as live:
        model.to_empty(device=_CPU)  # the fused kernels that are traced are chosen by device
        for kept in _state(model):
            live.count(kept)
        with recompute_activations(model, recompute):
            take_step(model, replace(kind, training=training), batch, _CPU)
    return live.peak


def measured_peak(kind: StepKind, batch: int, recompute: bool, device: torch.device) -> int:
    """Take a step with a copy of the model on a GPU, and read the greatest use of memory.

    Args:
        kind: The step.
        batch: Samples that go through the model at once.
        recompute: Whether activations are computed again in the backward pass.
        device: A CUDA device.

    Returns:
        Bytes, beside what was in use before.

    Raises:
        torch.OutOfMemoryError: It does not fit.
    """
    gc.collect()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    with torch.random.fork_rng([device]):
        model = copy.deepcopy(kind.model).to(device)
        with recompute_activations(model, recompute):
            take_step(model, kind, batch, device)
    return torch.cuda.max_memory_allocated(device) - before


def take_step(model: nn.Module, kind: StepKind, batch: int, device: torch.device) -> None:
    """Take a step as the loop does, on blank crops, with all that is there in a later portion.

    Args:
        model: On the device; its weights are changed.
        kind: The step.
        batch: Samples that go through the model at once.
        device: Where the model is.
    """
    model.train()
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    average = [torch.empty_like(kept) for kept in _state(model)] if kind.training.ema_decay else []
    optimizer = make_optimizer(model, kind.training.optimizer, batch)
    # All portions of a step but the first find gradients there, all steps but the first moments.
    for weight in trained:
        weight.grad = torch.zeros_like(weight)
    optimizer.step()
    arguments = _blank_batch(model, kind, batch, device)
    half = _HALVES.get(kind.precision)
    with torch.autocast(device.type, half, enabled=half is not None):
        output: ModelOutput = model(**arguments)
    output.loss.backward()
    torch.nn.utils.get_total_norm([weight.grad for weight in trained if weight.grad is not None])
    optimizer.step()
    del average


def _blank_batch(
    model: nn.Module, kind: StepKind, batch: int, device: torch.device
) -> dict[str, Any]:
    needs, side = Needs.of(model), kind.store_size
    several = (len(model.weights),) if getattr(model, "several", False) else ()  # type: ignore[arg-type]
    samples = Samples(
        crops=torch.zeros(batch, side, side, dtype=torch.uint16, device=device),
        rows=np.arange(batch),
        labels=torch.zeros(batch, *several, dtype=torch.int64, device=device),
        lesion=torch.zeros(batch, _LESION_SIDE, _LESION_SIDE, dtype=torch.uint8, device=device),
        device=device,
    )
    portion = Portion(torch.arange(batch), torch.zeros(batch, needs.uniforms), None)
    return make_batch(samples, portion, kind.side, needs, kind.training.augmentation)


def _state(model: nn.Module) -> list[Tensor]:
    return [*model.parameters(), *model.buffers()]


def _without_storage(model: nn.Module) -> nn.Module:
    """Copy a model but for its numbers."""
    shapes: dict[int, Any] = {id(buffer): buffer.to("meta") for buffer in model.buffers()}
    for weight in model.parameters():
        shapes[id(weight)] = nn.Parameter(weight.detach().to("meta"), weight.requires_grad)
    return copy.deepcopy(model, shapes)


class _LiveBytes(TorchDispatchMode):
    """Adds up the storages that are alive, and remembers the most."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self.alive: dict[int, weakref.ref[torch.UntypedStorage]] = {}

    def count(self, tensor: Tensor) -> None:
        """Count the storage of a tensor for as long as it is alive."""
        storage = tensor.untyped_storage()
        place, size = storage._cdata, storage.nbytes()
        if place in self.alive:
            return  # another view of it

        def gone(_: object) -> None:
            del self.alive[place]
            self.now -= size

        self.alive[place] = weakref.ref(storage, gone)
        self.now += size
        self.peak = max(self.peak, self.now)

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        for item in tree_iter(result):
            if isinstance(item, Tensor):
                self.count(item)
        return result
