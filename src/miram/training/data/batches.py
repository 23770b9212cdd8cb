"""What a model trains on in one step: views, noise, labels, each sample from its own numbers.

The loop gives a model what it declares and nothing else, by name:

    images   (B, 1, S, S), or (B, V, 1, S, S) for a model with `views` = V above 1
    noise    (B, m) uniform, if the model has `noise_width` = m above 0
    labels   (B,) or (B, K) int64, if it has `needs_labels`
    lesion   (B, h, h) uint8 coverage of the view, if it has `needs_lesion`

A model gives back an output with `loss` and `losses` (metrics to log, by name). A module with
`on_step(step, total)` is told before every step. A model with `needs_whole_batch` compares
samples with each other, so a batch cannot go through it in portions.
"""

from dataclasses import dataclass, fields
from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from miram.training.data.augmentation import DRAWS, AugmentationConfig, augment, augment_coverage
from miram.training.data.sampling import sample_uniforms


class ModelOutput(Protocol):
    """What the loop reads of a model's output."""

    @property
    def loss(self) -> Tensor:
        """() to be minimized."""

    @property
    def losses(self) -> dict[str, Tensor]:
        """Metrics to log, by name."""


@dataclass(frozen=True)
class Needs:
    """What a model declares; see the module for the meaning of each field."""

    views: int = 1
    noise_width: int = 0
    needs_labels: bool = False
    needs_lesion: bool = False
    needs_whole_batch: bool = False

    @classmethod
    def of(cls, model: nn.Module) -> "Needs":
        """Read the declarations of a model; what it does not declare it does not need."""
        names = [field.name for field in fields(cls) if hasattr(model, field.name)]
        return cls(**{name: getattr(model, name) for name in names})

    @property
    def uniforms(self) -> int:
        """Random numbers that a sample takes: those of its views, then its noise."""
        return self.views * DRAWS + self.noise_width


@dataclass(frozen=True)
class Samples:
    """All samples of a run.

    Attributes:
        crops: (N, H, H) uint16 on the device, or an array on the host, perhaps in a file.
        rows: (n,) positions of the samples among the crops.
        labels: (n,) or (n, K) int64 on the device, if there are any.
        lesion: (n, h, h) uint8 coverage on the device, if there is any.
        device: Where batches are made.
    """

    crops: Tensor | NDArray[np.uint16]
    rows: NDArray[np.int64]
    labels: Tensor | None
    lesion: Tensor | None
    device: torch.device


@dataclass(frozen=True)
class Portion:
    """Some samples of a step, with their random numbers, still on the host.

    Attributes:
        indices: (B,) which of the samples.
        uniforms: (B, m) float32.
        crops: (B, H, H) uint16 where crops wait on the host.
    """

    indices: Tensor
    uniforms: Tensor
    crops: Tensor | None

    def __len__(self) -> int:
        return len(self.indices)

    def split(self, size: int) -> list["Portion"]:
        """Cut into portions of a size; the last may be smaller."""
        starts = range(0, len(self), size)
        return [self._cut(slice(start, start + size)) for start in starts]

    def _cut(self, part: slice) -> "Portion":
        crops = None if self.crops is None else self.crops[part]
        return Portion(self.indices[part], self.uniforms[part], crops)


def draw_portion(
    samples: Samples, indices: NDArray[np.int64], epoch: int, needs: Needs, seed: int
) -> Portion:
    """Gather what a step needs on the host.

    View v of sample i in epoch e follows from (seed, e, i, v) alone; the noise comes after
    the numbers of the views.

    Args:
        samples: All samples.
        indices: (B,) which of them.
        epoch: Number of the epoch.
        needs: What the model declares.
        seed: Of the run.
    """
    crops = None
    if not isinstance(samples.crops, Tensor):
        crops = _pinned(np.ascontiguousarray(samples.crops[samples.rows[indices]]), samples.device)
    return Portion(
        _pinned(indices, samples.device),
        _pinned(sample_uniforms(seed, epoch, indices, needs.uniforms), samples.device),
        crops,
    )


def make_batch(
    samples: Samples,
    portion: Portion,
    side: int,
    needs: Needs,
    augmentation: AugmentationConfig,
) -> dict[str, Any]:
    """Make the arguments of a model, on the device.

    Args:
        samples: All samples.
        portion: Which of them, with their random numbers.
        side: Side of the images the model takes, in pixels.
        needs: What the model declares.
        augmentation: How views are made.
    """
    indices = portion.indices.to(samples.device, non_blocking=True)
    uniforms = portion.uniforms.to(samples.device, non_blocking=True)
    if portion.crops is not None:
        crops = portion.crops.to(samples.device, non_blocking=True)
    else:
        assert isinstance(samples.crops, Tensor)
        # On a GPU PyTorch gathers int16, but no uint16: the bits are the same.
        crops = samples.crops.view(torch.int16)[indices].view(torch.uint16)
    draws = uniforms[:, : needs.views * DRAWS].split(DRAWS, dim=1)
    views = [_shrink(augment(crops, numbers, augmentation), side) for numbers in draws]
    batch = {"images": views[0] if needs.views == 1 else torch.stack(views, dim=1)}
    if needs.noise_width:
        batch["noise"] = uniforms[:, needs.views * DRAWS :]
    if needs.needs_labels:
        assert samples.labels is not None
        batch["labels"] = samples.labels[indices]
    if needs.needs_lesion and samples.lesion is not None:
        batch["lesion"] = augment_coverage(samples.lesion[indices], draws[0], augmentation)
    return batch


def _pinned(values: NDArray, device: torch.device) -> Tensor:
    # Only from pinned memory does a copy to a GPU run beside its work.
    tensor = torch.from_numpy(values)
    return tensor.pin_memory() if device.type == "cuda" else tensor


def _shrink(images: Tensor, side: int) -> Tensor:
    # Every method augments at the side of the store, so that all see the same views.
    if side < images.shape[-1]:
        return F.interpolate(images, size=(side, side), mode="area")
    return images
