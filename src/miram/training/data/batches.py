"""What a model trains on in one step: views, noise, labels, each sample from its own numbers.

The loop gives a model what it declares and nothing else, by name:

    images   (B, 1, S, S), or (B, V, 1, S, S) for a model with `views` = V above 1
    noise    (B, m) uniform, if the model has `noise_width` = m above 0
    labels   (B,) or (B, K) int64, if it has `needs_labels`
    lesion   (B, h, h) uint8 coverage of the view, if it has `needs_lesion`

A model gives back an output with `loss` and `losses` (metrics to log, by name). `on_step(step,
total)` of a module, if it has one, is called before every step. A model with `needs_whole_batch`
compares samples with each other, so a batch cannot go through it in micro-batches; `pixels` says
how its images are standardized.
"""

import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, fields
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from miram.memory import free_memory
from miram.models.images import shrink
from miram.models.pixels import HALF, Pixels
from miram.training.data.augmentation import DRAWS, AugmentationConfig, augment, augment_coverage
from miram.training.data.sampling import Step, sample_uniforms

_FREE_SHARE = 0.5  # of the device's free memory that crops may take


class ModelOutput(Protocol):
    """What the loop reads of a model's output."""

    @property
    def loss(self) -> Tensor:
        """() to be minimized."""

    @property
    def losses(self) -> dict[str, Tensor]:
        """Metrics to log, by name."""


@dataclass(frozen=True)
class InputSpec:
    """What a model declares; see the module for the meaning of each field."""

    views: int = 1
    noise_width: int = 0
    needs_labels: bool = False
    needs_lesion: bool = False
    needs_whole_batch: bool = False
    pixels: Pixels = HALF

    @classmethod
    def of(cls, model: nn.Module) -> "InputSpec":
        """Read the declarations of a model; what it does not declare it does not need."""
        names = [field.name for field in fields(cls) if hasattr(model, field.name)]
        return cls(**{name: getattr(model, name) for name in names})

    @property
    def uniforms(self) -> int:
        """Random numbers that a sample takes: those of its views, then its noise."""
        return self.views * DRAWS + self.noise_width


@dataclass(frozen=True)
class Samples:
    """All samples of a run."""

    crops: Tensor | NDArray[np.uint16]  # (N, H, H) on the device, or on the host, perhaps in a file
    rows: NDArray[np.int64]  # (n,) positions of the samples among the crops
    labels: Tensor | None  # (n,) or (n, K) int64 on the device
    lesion: Tensor | None  # (n, h, h) uint8 coverage on the device
    device: torch.device  # where batches are made

    @classmethod
    def place(
        cls,
        crops: NDArray[np.uint16],
        rows: NDArray[np.int64],
        labels: NDArray[np.int64] | None,
        lesion: NDArray[np.uint8] | None,
        device: torch.device,
        cache: str,
    ) -> "Samples":
        """Put arrays of the host where `cache` says: `device`, `host`, or `auto`.

        That is the device if they fit.
        """

        def move(values: NDArray | None) -> Tensor | None:
            if values is None:
                return None
            return torch.from_numpy(np.ascontiguousarray(values)).to(device)

        if resident_bytes(crops, rows, device, cache):
            there = move(crops[rows])
            assert there is not None
            return cls(there, np.arange(len(rows)), move(labels), move(lesion), device)
        return cls(crops, rows, move(labels), move(lesion), device)

    def crops_of(self, indices: Tensor) -> Tensor:
        """(B, H, H) uint16 crops of samples, where the crops are cached."""
        if isinstance(self.crops, Tensor):
            # On a GPU PyTorch gathers int16, but no uint16: the bits are the same.
            return self.crops.view(torch.int16)[indices].view(torch.uint16)
        return torch.from_numpy(np.ascontiguousarray(self.crops[self.rows[indices.numpy()]]))


def resident_bytes(
    crops: NDArray[np.uint16], rows: NDArray[np.int64], device: torch.device, cache: str
) -> int:
    """Bytes that the crops of the samples take on the device; 0 if they stay on the host."""
    size = len(rows) * crops[0].nbytes
    fits = cache == "auto" and size <= _FREE_SHARE * free_memory(device)
    return size if cache == "device" or fits else 0


@dataclass(frozen=True)
class HostBatch:
    """Samples of a step with their random numbers, still on the host."""

    indices: Tensor  # (B,) which of the samples
    uniforms: Tensor  # (B, m) float32
    crops: Tensor | None  # (B, H, H) uint16 where crops are cached on the host

    def __len__(self) -> int:
        return len(self.indices)

    def micro_batches(self, size: int) -> list["HostBatch"]:
        """Cut into micro-batches of a size; the last may be smaller."""
        parts = [slice(start, start + size) for start in range(0, len(self), size)]
        crops = [None if self.crops is None else self.crops[part] for part in parts]
        return [
            HostBatch(self.indices[part], self.uniforms[part], some)
            for part, some in zip(parts, crops, strict=True)
        ]


def draw_batch(
    samples: Samples, indices: NDArray[np.int64], epoch: int, spec: InputSpec, seed: int
) -> HostBatch:
    """Gather the samples of (B,) indices and draw their random numbers, on the host.

    A sample's noise comes after the numbers of its views.
    """
    places = torch.from_numpy(indices)
    uniforms = torch.from_numpy(sample_uniforms(seed, epoch, indices, spec.uniforms))
    crops = None if isinstance(samples.crops, Tensor) else samples.crops_of(places)
    if samples.device.type == "cuda":  # only from pinned memory a copy runs beside its work
        places, uniforms = places.pin_memory(), uniforms.pin_memory()
        crops = None if crops is None else crops.pin_memory()
    return HostBatch(places, uniforms, crops)


def make_batch(
    samples: Samples,
    batch: HostBatch,
    image_size: int,
    spec: InputSpec,
    augmentation: AugmentationConfig,
) -> dict[str, Any]:
    """Make the arguments of a model that takes images of a size in pixels, on the device."""
    indices = batch.indices.to(samples.device, non_blocking=True)
    uniforms = batch.uniforms.to(samples.device, non_blocking=True)
    if batch.crops is None:
        crops = samples.crops_of(indices)
    else:
        crops = batch.crops.to(samples.device, non_blocking=True)
    draws = uniforms[:, : spec.views * DRAWS].split(DRAWS, dim=1)
    # Every method augments at the size of the store, so that all see the same views.
    views = [
        shrink(spec.pixels.standardize(augment(crops, numbers, augmentation)), image_size)
        for numbers in draws
    ]
    made = {"images": views[0] if spec.views == 1 else torch.stack(views, dim=1)}
    if spec.noise_width:
        made["noise"] = uniforms[:, spec.views * DRAWS :]
    if spec.needs_labels:
        assert samples.labels is not None
        made["labels"] = samples.labels[indices]
    if spec.needs_lesion and samples.lesion is not None:
        made["lesion"] = augment_coverage(samples.lesion[indices], draws[0], augmentation)
    return made


@dataclass(frozen=True)
class Prefetched:
    """A step and what this process takes of it."""

    step: Step
    batch: HostBatch  # this process's share of its samples
    waited: float  # seconds that the loop waited for it


def prefetch(
    steps: Iterator[Step],
    samples: Samples,
    spec: InputSpec,
    seed: int,
    rank: int = 0,
    processes: int = 1,
) -> Iterator[Prefetched]:
    """Draw the batch of each step while the device still works on the one before.

    Of several processes that share a step, each takes every so many-th sample.
    """

    def wait(step: Step, batch: "Future[HostBatch]") -> Prefetched:
        started = time.perf_counter()
        ready = batch.result()
        return Prefetched(step, ready, time.perf_counter() - started)

    with ThreadPoolExecutor(1, thread_name_prefix="miram-prefetch") as worker:
        ahead: tuple[Step, Future[HostBatch]] | None = None
        for step in steps:
            share = step.indices[rank::processes]
            drawn = worker.submit(draw_batch, samples, share, step.epoch, spec, seed)
            if ahead:
                yield wait(*ahead)
            ahead = (step, drawn)
        if ahead:
            yield wait(*ahead)
