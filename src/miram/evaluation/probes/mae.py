"""The linear probe of masked autoencoders: batch normalization without affine, then one layer.

He et al., CVPR 2022, appendix A.1; the normalization brings the features to unit scale, which
masked autoencoders do not. Unlike `linear` it has a budget of epochs instead of a penalty chosen
by cross-validation, so that its metrics compare with those of the literature. torch is imported
when a probe is fitted, not before.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import Field

from miram.errors import MiramError
from miram.evaluation.probes.protocols import Probe, ProbeScores, TrainingLesions

if TYPE_CHECKING:
    from torch import Tensor, nn

_EPSILON = 1e-6  # of the normalization, as in the official code
_INITIAL_DEVIATION = 0.01  # of the weights, as there


class MaeProbeConfig(Probe):
    """The linear probe of masked autoencoders: batch normalization and one layer, trained.

    The defaults follow He et al., CVPR 2022, appendix A.1, at a batch size that suits thousands
    of lesions instead of a million images.
    """

    protocol: ClassVar[str] = "mae_probe"

    epochs: int = Field(90, ge=1, description="passes over the training lesions")
    warmup_epochs: int = Field(10, ge=0, description="linear rise, then half a cosine")
    batch_size: int = Field(256, ge=2, description="lesions of a step")
    base_lr: float = Field(0.1, gt=0, description="learning rate per 256 lesions of a batch")
    momentum: float = Field(0.9, ge=0, lt=1, description="of SGD")
    weight_decay: float = Field(0.0, ge=0, description="per step, times the learning rate")
    seed: int = Field(0, ge=0, description="of the order of lesions and the initial weights")

    def scores(self, train: TrainingLesions, features: npt.NDArray) -> ProbeScores:
        """Train the probe and score lesions, on one thread of the CPU.

        Raises:
            MiramError: There are fewer than two training lesions, or training diverges.
        """
        import torch

        if len(train.features) < 2:
            raise MiramError(
                f"{len(train.features)} training lesions are too few for the MAE-style probe: "
                "it normalizes over a batch"
            )
        given = torch.from_numpy(np.ascontiguousarray(train.features, np.float32))
        labels = torch.from_numpy(np.ascontiguousarray(train.labels))
        with _one_thread():
            probe = _trained(given, labels, train.classes, self)
            with torch.inference_mode():
                wanted = torch.from_numpy(np.ascontiguousarray(features, np.float32))
                logits = probe(wanted).double()
        if not bool(logits.isfinite().all()):
            raise MiramError(
                "the MAE-style probe diverged: lower evaluation.mae_probe.base_lr, or its "
                "weight_decay"
            )
        if labels.ndim == 2:
            return ProbeScores(logits.sigmoid().numpy())
        scores = logits.softmax(dim=1).numpy()
        return ProbeScores(scores[:, 1] if train.classes == 2 else scores)


def _trained(
    features: "Tensor", labels: "Tensor", classes: int, config: MaeProbeConfig
) -> "nn.Module":
    import torch
    from torch import nn
    from torch.nn import functional as F

    generator = torch.Generator().manual_seed(config.seed)
    count, width = features.shape
    layer = nn.Linear(width, classes)
    nn.init.normal_(layer.weight, std=_INITIAL_DEVIATION, generator=generator)
    nn.init.zeros_(layer.bias)
    probe = nn.Sequential(nn.BatchNorm1d(width, affine=False, eps=_EPSILON), layer)
    batch = min(config.batch_size, count)
    steps = count // batch  # per epoch; lesions beyond a whole batch wait for another epoch
    optimizer = torch.optim.SGD(
        probe.parameters(),
        lr=config.base_lr * batch / 256,
        momentum=config.momentum,
        weight_decay=config.weight_decay,
    )
    total, warmup = config.epochs * steps, config.warmup_epochs * steps
    rate = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: _rate_factor(step, warmup, total)
    )
    for _ in range(config.epochs):
        order = torch.randperm(count, generator=generator)
        for rows in order[: steps * batch].split(batch):
            logits = probe(features[rows])
            loss = (
                F.cross_entropy(logits, labels[rows])
                if labels.ndim == 1
                else F.binary_cross_entropy_with_logits(logits, labels[rows].float())
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            rate.step()
    return probe.eval()


def _rate_factor(step: int, warmup: int, total: int) -> float:
    """Share of the peak rate: linear warm-up, then half a cosine to zero."""
    if step < warmup:
        return (step + 1) / warmup
    done = (step - warmup) / max(total - warmup, 1)
    return 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))


@contextmanager
def _one_thread() -> Iterator[None]:
    """Sums must not depend on the number of threads, and the products are too small for more."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
