"""When a loss or gradient is not finite: find where it began, and keep what replays it."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from miram.errors import MiramError
from miram.files import atomic_path
from miram.models.processes import alone

FILE = "replay.pt"


@dataclass(frozen=True)
class Replay:
    """A step that can be taken again.

    Attributes:
        model: The model as it was before the step.
        batches: What it was called with, portion by portion.
        precision: `no`, `bf16` or `fp16`, as accelerate names them.
        seed: Of what the model draws by itself.
        step: From 0.
        epoch: From 0.
        indices: The samples of the step.
        worker: Which one of several took it, with its share of the samples; None for a single one.
    """

    model: nn.Module
    batches: list[dict[str, Tensor]]
    precision: str
    seed: int
    step: int
    epoch: int
    indices: list[int]
    worker: int | None = None


@dataclass(frozen=True)
class Finding:
    """What is not finite, and where it began.

    Attributes:
        loss: Sum of the portions' losses, each weighing alike.
        gradient_norm: Of all gradients together.
        where: The first place; empty where all is finite.
    """

    loss: float
    gradient_norm: float
    where: str

    @property
    def finite(self) -> bool:
        """Whether the step was as it should be."""
        return not self.where


def keep_replay(folder: Path, replay: Replay) -> Path:
    """Write a step down, so that `miram replay` can take it again.

    Returns:
        The folder of the step.
    """
    worker = "" if replay.worker is None else f"-worker-{replay.worker}"
    target = folder / f"nonfinite-step-{replay.step + 1:09d}{worker}"
    parts = {name: getattr(replay, name) for name in replay.__dataclass_fields__}
    with atomic_path(target / FILE) as temporary, temporary.open("wb") as file:
        torch.save(parts, file)
    return target


def load_replay(folder: Path) -> Replay:
    """Read a step that was kept.

    The file holds a pickled model: open only your own.

    Raises:
        MiramError: There is none, or it cannot be read.
    """
    path = folder / FILE
    if not path.is_file():
        raise MiramError(f"there is no {FILE} in {folder}: name a folder nonfinite-step-...")
    try:
        return Replay(**torch.load(path, map_location="cpu", weights_only=False))
    except Exception as error:  # whatever a damaged or older file makes pickle raise
        raise MiramError(f"{path} cannot be read ({error}): was it written by this version?") from (
            error
        )


def take_again(replay: Replay) -> Finding:
    """Take a step again, without changing weights, and find where it goes wrong."""
    model = replay.model.train()
    device = next(model.parameters()).device
    batches = [{k: v.to(device) for k, v in batch.items()} for batch in replay.batches]
    model.zero_grad(set_to_none=True)
    place = _bad_before(model, batches)
    watcher = _Watcher(model)
    losses = []
    with torch.random.fork_rng(devices=[]), alone():
        torch.manual_seed(replay.seed)
        for batch in batches:
            with _autocast(device, replay.precision):
                loss = model(**batch).loss
            (loss / len(batches)).backward()
            losses.append(float(loss.detach()))
    watcher.remove()
    gradients = [weight.grad for weight in model.parameters() if weight.grad is not None]
    norm = float(torch.nn.utils.get_total_norm(gradients))
    total = sum(losses) / len(losses)
    if not place and not (_finite(total) and _finite(norm)):
        place = watcher.first or "the loss itself"
    return Finding(total, norm, place)


def tell_nonfinite(
    replay: Replay,
    folder: Path | None,
    *,
    lost: bool = True,
    gather: Callable[[list[Any]], list[Any]] = list,
) -> str:
    """Find where a step went wrong, and keep it for `miram replay`.

    Of several workers only those at fault keep their share of it.

    Args:
        replay: The step.
        folder: Where to keep it; None keeps nothing.
        lost: Whether this worker's own loss was not finite.
        gather: Joins a list with those of the other workers.

    Returns:
        What happened and what to change, the same in all workers.
    """
    finding = take_again(replay)
    at_fault = lost or not finding.finite
    blameless = not any(gather([at_fault]))  # such as what overflowed on the GPU alone
    told: list[str] = gather([_told(replay, finding, folder)] if at_fault or blameless else [])
    return told[0]


def _told(replay: Replay, finding: Finding, folder: Path | None) -> str:
    kept = _kept(folder, replay) if folder else ""
    whose = "" if replay.worker is None else f"worker {replay.worker}: "
    return (
        f"{whose}loss {finding.loss:g}, gradient norm {finding.gradient_norm:g} at step "
        f"{replay.step + 1}; first at: {finding.where or 'not seen again on the CPU'}{kept}. "
        f"The weights are those before the step. {advice(finding, replay.precision)}"
    )


def _kept(folder: Path, replay: Replay) -> str:
    try:
        return f"; `miram replay {keep_replay(folder, replay)}` takes the step again"
    except (OSError, RuntimeError) as error:  # a full disk hides neither the step nor its cause
        return f"; the step could not be kept for `miram replay` ({error})"


def facts(replay: Replay, finding: Finding) -> dict[str, Any]:
    """Step and finding as plain values."""
    step = {"step": replay.step + 1, "epoch": replay.epoch, "indices": replay.indices}
    return {**step, **asdict(finding), "finite": finding.finite}


def advice(finding: Finding, precision: str) -> str:
    """What to change."""
    if finding.where.startswith("input"):
        return "The data itself is not finite: run `miram verify` on the crop store"
    lower = (
        "Lower training.optimizer.base_lr or set training.optimizer.clip_norm=1. A training does "
        "not go on with other settings: start afresh with training.resume=false"
    )
    if precision != "no":
        return f"Set training.precision=fp32. {lower}"
    return lower


def _bad_before(model: nn.Module, batches: list[dict[str, Tensor]]) -> str:
    for name, weight in model.named_parameters():
        if not weight.isfinite().all():
            return f"weight {name}, before the step"
    for batch in batches:
        for name, value in batch.items():
            if value.is_floating_point() and not value.isfinite().all():
                return f"input {name}"
    return ""


class _Watcher:
    """Remembers the first module with an output, or else a gradient, that is not finite."""

    def __init__(self, model: nn.Module) -> None:
        self.first = ""
        self.handles: list[RemovableHandle] = [
            module.register_forward_hook(self._look_at(f"{name} ({type(module).__name__})"))
            for name, module in model.named_modules()
            if not any(module.children())  # what holds others goes wrong after them
        ]

    def remove(self) -> None:
        for handle in self.handles:
            handle.remove()

    def _look_at(self, name: str) -> Callable[..., None]:
        def forward(_: nn.Module, inputs: Any, output: Any) -> None:
            if not isinstance(output, Tensor):
                return
            self._note(f"output of {name}", output)
            if output.requires_grad:
                # On the tensor: hooks of modules do not go with operations in place.
                output.register_hook(lambda gradient: self._note(f"gradient at {name}", gradient))

        return forward

    def _note(self, place: str, value: Tensor) -> None:
        if not self.first and not bool(value.isfinite().all()):
            self.first = place


def _finite(value: float) -> bool:
    return abs(value) < float("inf")


def _autocast(device: torch.device, precision: str) -> torch.autocast:
    kinds = {"bf16": torch.bfloat16, "fp16": torch.float16}
    return torch.autocast(device.type, kinds.get(precision), enabled=precision in kinds)
