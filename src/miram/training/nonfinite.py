"""When a loss or gradient is not finite: find where it began, and keep what replays the step.

A step follows from its weights, its samples and (seed, epoch, sample): these are kept, as tensors
and plain values, and the step is made again from them.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from miram.errors import MiramError
from miram.models.processes import alone
from miram.training.checkpointing.folder import State, read_state, write_state
from miram.training.data.augmentation import AugmentationConfig
from miram.training.data.batches import HostBatch, InputSpec, Samples, make_batch
from miram.training.data.sampling import sample_uniforms, step_seed
from miram.training.device import autocast

FILE = "step.pt"


@dataclass(frozen=True)
class BadStep:
    """A step that can be taken again; `step` and `epoch` count from 0."""

    model: State  # weights and buffers before the step
    identity: dict[str, Any]  # of the training, see `Checkpoints`; the model is built from it
    step: int
    total: int  # steps of the whole training
    epoch: int
    seed: int
    indices: list[int]  # the samples of the step, those of this worker
    rank: int
    processes: int
    crops: Tensor  # (B, H, H) uint16
    labels: Tensor | None  # (B,) or (B, K) int64
    lesion: Tensor | None  # (B, h, h) uint8
    image_size: int  # of the images the model takes, in pixels
    augmentation: dict[str, Any]
    micro_batch: int  # samples that go through the model at once
    precision: str  # no, bf16 or fp16, as accelerate names them

    def batches(self, spec: InputSpec) -> list[dict[str, Tensor]]:
        """What the model was called with, on the CPU."""
        indices = np.array(self.indices)
        uniforms = torch.from_numpy(sample_uniforms(self.seed, self.epoch, indices, spec.uniforms))
        cpu = torch.device("cpu")
        samples = Samples(self.crops, np.arange(len(indices)), self.labels, self.lesion, cpu)
        whole = HostBatch(torch.arange(len(indices)), uniforms, None)
        augmentation = AugmentationConfig.model_validate(self.augmentation)
        return [
            make_batch(samples, part, self.image_size, spec, augmentation)
            for part in whole.micro_batches(self.micro_batch)
        ]


@dataclass(frozen=True)
class Finding:
    """What is not finite, and where it began."""

    loss: float  # mean of the micro-batches' losses
    gradient_norm: float  # of all gradients together
    where: str  # the first place; empty where all is finite

    @property
    def finite(self) -> bool:
        """Whether the step was as it should be."""
        return not self.where

    def advice(self, precision: str) -> str:
        """What to change."""
        if self.where.startswith("input"):
            return "The data itself is not finite: run `miram verify` on the crop store"
        lower = (
            "Lower training.optimizer.base_lr or set training.optimizer.clip_norm=1. A training "
            "does not resume with other settings: start afresh with training.resume=false"
        )
        return lower if precision == "no" else f"Set training.precision=fp32. {lower}"


def load_step(folder: Path) -> BadStep:
    """Read a step that was kept.

    Raises:
        MiramError: There is none, or it cannot be read.
    """
    path = folder / FILE
    if not path.is_file():
        raise MiramError(f"there is no {FILE} in {folder}: name a folder nonfinite-step-...")
    try:
        return BadStep(**read_state(path))
    except Exception as error:  # whatever a damaged or older file makes the reader raise
        raise MiramError(f"{path} cannot be read ({error}): was it written by this version?") from (
            error
        )


def take_again(bad: BadStep, model: nn.Module) -> Finding:
    """Take a step again on the CPU and find where it goes wrong; the model gets its weights."""
    model.load_state_dict(bad.model)
    on_step: list[Any] = [m.on_step for m in model.modules() if hasattr(m, "on_step")]
    for call in on_step:
        call(bad.step, bad.total)
    batches = bad.batches(InputSpec.of(model))
    return examine(model.train(), batches, step_seed(bad.seed, bad.step, bad.rank), bad.precision)


def examine(
    model: nn.Module, batches: list[dict[str, Tensor]], seed: int, precision: str
) -> Finding:
    """Go forward and backward on the CPU and find the first place that is not finite.

    `batches` are the model's arguments, micro-batch by micro-batch, and `seed` is of whatever it
    draws by itself.
    """
    model.zero_grad(set_to_none=True)
    place = _bad_before(model, batches)
    losses = []
    with torch.random.fork_rng(devices=[]), alone(), _watching(model) as places:
        torch.manual_seed(seed)
        for batch in batches:
            with autocast("cpu", precision):
                loss = model(**batch).loss
            (loss / len(batches)).backward()
            losses.append(float(loss.detach()))
    gradients = [weight.grad for weight in model.parameters() if weight.grad is not None]
    norm = float(torch.nn.utils.get_total_norm(gradients))
    mean = sum(losses) / len(losses)
    if not place and not (np.isfinite(mean) and np.isfinite(norm)):
        place = places[0] if places else "the loss itself"
    return Finding(mean, norm, place)


def describe_nonfinite(
    bad: BadStep,
    model: nn.Module,
    folder: Path | None,
    *,
    lost: bool = True,
    gather: Callable[[list[Any]], list[Any]] = list,
) -> str:
    """Find where a step went wrong, and keep it for `miram replay`.

    Of several workers only those at fault keep their share of it.

    `model` is a copy on the CPU, `lost` says whether this worker's own loss was not finite, and
    `gather` joins a list with those of the other workers.

    Returns:
        What happened and what to change, the same in all workers.
    """
    finding = take_again(bad, model)
    at_fault = lost or not finding.finite
    blameless = not any(gather([at_fault]))  # such as what overflowed on the GPU alone
    found: list[str] = gather([_message(bad, finding, folder)] if at_fault or blameless else [])
    return found[0]


def _message(bad: BadStep, finding: Finding, folder: Path | None) -> str:
    single, kept = bad.processes == 1, ""
    if folder:
        suffix = "" if single else f"-worker-{bad.rank}"
        target = folder / f"nonfinite-step-{bad.step + 1:09d}{suffix}"
        try:
            write_state(target / FILE, vars(bad))
            kept = f"; `miram replay {target}` takes the step again"
        except (OSError, RuntimeError) as error:  # a full disk hides neither step nor cause
            kept = f"; the step could not be kept for `miram replay` ({error})"
    return (
        f"{'' if single else f'worker {bad.rank}: '}loss {finding.loss:g}, gradient norm "
        f"{finding.gradient_norm:g} at step {bad.step + 1}; first at: "
        f"{finding.where or 'not seen again on the CPU'}{kept}. The weights are those before the "
        f"step. {finding.advice(bad.precision)}"
    )


def _bad_before(model: nn.Module, batches: list[dict[str, Tensor]]) -> str:
    """Which weight or input was not finite before the step."""
    for name, weight in model.named_parameters():
        if not weight.isfinite().all():
            return f"weight {name}, before the step"
    for batch in batches:
        for name, value in batch.items():
            if value.is_floating_point() and not value.isfinite().all():
                return f"input {name}"
    return ""


@contextmanager
def _watching(model: nn.Module) -> Iterator[list[str]]:
    """Collect the places whose output or gradient is not finite, in their order."""
    places: list[str] = []

    def note(place: str, value: Tensor) -> None:
        if not value.isfinite().all():
            places.append(place)

    def hook(name: str) -> Callable[..., None]:
        def forward(_: nn.Module, inputs: Any, output: Any) -> None:
            if isinstance(output, Tensor):
                note(f"output of {name}", output)
                if output.requires_grad:
                    # On the tensor: hooks of modules do not go with operations in place.
                    output.register_hook(lambda gradient: note(f"gradient at {name}", gradient))

        return forward

    handles = [
        module.register_forward_hook(hook(f"{name} ({type(module).__name__})"))
        for name, module in model.named_modules()
        if not any(module.children())  # what holds others goes wrong after them
    ]
    yield places
    for handle in handles:
        handle.remove()
