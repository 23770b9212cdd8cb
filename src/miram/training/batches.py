"""What a model trains on in one step: views, noise, labels, each sample from its own numbers.

The loop gives a model what it declares and nothing else, by name:

    images   (B, 1, S, S), or (B, V, 1, S, S) for a model with `views` = V above 1
    noise    (B, m) uniform, if the model has `noise_width` = m above 0
    labels   (B,) or (B, K) int64, if it has `needs_labels`
    lesion   (B, h, h) uint8 coverage of the view, if it has `needs_lesion`

A model gives back an output with `loss` and `losses` (figures to log, by name). One with
`on_step(step, total)` is told before every step.
"""

from dataclasses import dataclass, fields
from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from miram.training.augmentation import DRAWS, AugmentationConfig, augment, augment_coverage
from miram.training.sampling import sample_uniforms


class ModelOutput(Protocol):
    """What the loop reads of a model's output."""

    @property
    def loss(self) -> Tensor:
        """() to be minimized."""

    @property
    def losses(self) -> dict[str, Tensor]:
        """Figures to log, by name."""


@dataclass(frozen=True)
class Needs:
    """What a model declares; see the module for the meaning of each field."""

    views: int = 1
    noise_width: int = 0
    needs_labels: bool = False
    needs_lesion: bool = False

    @classmethod
    def of(cls, model: nn.Module) -> "Needs":
        """Read the declarations of a model; what it does not declare it does not need."""
        names = [field.name for field in fields(cls) if hasattr(model, field.name)]
        return cls(**{name: getattr(model, name) for name in names})


@dataclass(frozen=True)
class Samples:
    """All samples of a run, on the device.

    Attributes:
        crops: (n, H, H) uint16.
        labels: (n,) or (n, K) int64, if there are any.
        lesion: (n, h, h) uint8 coverage, if there is any.
    """

    crops: Tensor
    labels: Tensor | None
    lesion: Tensor | None


def make_batch(
    samples: Samples,
    indices: NDArray[np.int64],
    epoch: int,
    side: int,
    needs: Needs,
    seed: int,
    augmentation: AugmentationConfig,
) -> dict[str, Any]:
    """Make the arguments of a model for one step.

    View v of sample i in epoch e follows from (seed, e, i, v) alone; the noise comes after
    the numbers of the views.

    Args:
        samples: All samples.
        indices: (B,) which of them.
        epoch: Number of the epoch.
        side: Side of the images the model takes, in pixels.
        needs: What the model declares.
        seed: Of the run.
        augmentation: How views are made.
    """
    device = samples.crops.device
    width = needs.views * DRAWS + needs.noise_width
    uniforms = torch.from_numpy(sample_uniforms(seed, epoch, indices, width)).to(device)
    rows = torch.from_numpy(indices).to(device)
    crops = samples.crops[rows]
    draws = uniforms[:, : needs.views * DRAWS].split(DRAWS, dim=1)
    views = [_shrink(augment(crops, numbers, augmentation), side) for numbers in draws]
    batch = {"images": views[0] if needs.views == 1 else torch.stack(views, dim=1)}
    if needs.noise_width:
        batch["noise"] = uniforms[:, needs.views * DRAWS :]
    if needs.needs_labels:
        assert samples.labels is not None
        batch["labels"] = samples.labels[rows]
    if needs.needs_lesion and samples.lesion is not None:
        batch["lesion"] = augment_coverage(samples.lesion[rows], draws[0], augmentation)
    return batch


def _shrink(images: Tensor, side: int) -> Tensor:
    # Every method augments at the side of the store, so that all see the same views.
    if side < images.shape[-1]:
        return F.interpolate(images, size=(side, side), mode="area")
    return images
