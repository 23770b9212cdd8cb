"""The training loop: one step's code fits on a screen."""

import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import TorchDynamoPlugin
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn

from miram.configuration import Config
from miram.errors import MiramError
from miram.training.augmentation import DRAWS, AugmentationConfig, augment
from miram.training.sampling import epoch_order, sample_uniforms
from miram.training.schedule import OptimizerConfig, learning_rate_factor, make_optimizer
from miram.training.telemetry import tell

log = logging.getLogger(__name__)
_LINE_EVERY = 5.0  # seconds between two progress lines

Precision = Literal["auto", "bf16", "fp32"]


class TrainingConfig(Config):
    """The budget, the same for every method of a study."""

    epochs: int = Field(ge=1)
    batch_size: int = Field(ge=1, description="samples per step")
    seed: int = Field(0, ge=0)
    precision: Precision = Field("auto", description="bf16 where the hardware multiplies in it")
    device: Literal["auto", "cpu"] = "auto"
    log_every: int = Field(10, ge=1, description="steps between two logged records")
    augmentation: AugmentationConfig = AugmentationConfig()
    optimizer: OptimizerConfig = OptimizerConfig()


@dataclass(frozen=True)
class Batch:
    """What a method trains on in one step.

    Attributes:
        images: (B, 1, S, S) augmented, standardized.
        noise: (B, m) uniform numbers for the method's own randomness, such as masks.
    """

    images: Tensor
    noise: Tensor


def train(
    model: nn.Module, crops: NDArray[np.uint16], side: int, noise: int, config: TrainingConfig
) -> pd.DataFrame:
    """Train a model without labels.

    Args:
        model: Called with images (B, 1, side, side) and noise (B, noise); gives an output with
            `loss` and `losses`.
        crops: (n, H, H) uint16, kept on the device.
        side: Side of the images the model takes, in pixels; it divides H.
        noise: Uniform numbers per sample that the model takes.
        config: The budget.

    Returns:
        The history: one row per logged step with `step`, `epoch`, `loss`, the single losses,
        `lr`, `gradient_norm`, `images_per_second`.

    Raises:
        MiramError: There are fewer crops than a batch, or the loss is not finite.
    """
    if len(crops) < config.batch_size:
        raise MiramError(
            f"{len(crops)} crops are fewer than one batch: lower training.batch_size "
            f"({config.batch_size}) or give more data"
        )
    if crops.shape[-1] % side:
        raise MiramError(
            f"crops of side {crops.shape[-1]} do not serve a method that takes side {side}: "
            f"set rois.side to a multiple of {side} and run `kedro run --pipeline rois`"
        )
    accelerator = make_accelerator(config)
    optimizer = make_optimizer(model, config.optimizer, config.batch_size)
    model, optimizer = accelerator.prepare(model, optimizer)
    peak = [group["lr"] for group in optimizer.param_groups]
    steps = len(crops) // config.batch_size
    warmup = config.optimizer.warmup_epochs * steps
    recorder = _Recorder(config, total=steps * config.epochs)
    data = torch.from_numpy(np.ascontiguousarray(crops)).to(accelerator.device)
    model.train()
    for step, (epoch, indices) in enumerate(_batches(len(crops), config)):
        batch = _make_batch(data, indices, epoch, side, noise, config)
        factor = learning_rate_factor(step, warmup, recorder.total)
        for group, lr in zip(optimizer.param_groups, peak, strict=True):
            group["lr"] = lr * factor
        with accelerator.autocast():
            output = model(batch.images, batch.noise)
        accelerator.backward(output.loss)
        norm = accelerator.clip_grad_norm_(
            model.parameters(), config.optimizer.clip_norm or float("inf")
        )
        optimizer.step()
        optimizer.zero_grad()
        recorder.add(step + 1, epoch, output, norm, peak[0] * factor)
    accelerator.free_memory()
    return recorder.history()


def make_accelerator(config: TrainingConfig) -> Accelerator:
    """Choose device and precision.

    bf16 is chosen where the hardware multiplies in it: recent GPUs, and CPUs with AMX or
    AVX512-BF16. Elsewhere it would only be slower.
    """
    cpu = config.device == "cpu" or not torch.cuda.is_available()
    # accelerate keeps its state per process; a notebook may train twice with other settings.
    AcceleratorState._reset_state(reset_partial_state=True)
    bf16 = config.precision == "bf16" or (config.precision == "auto" and has_fast_bf16(cpu))
    return Accelerator(
        cpu=cpu,
        mixed_precision="bf16" if bf16 else "no",
        dynamo_plugin=TorchDynamoPlugin(backend="no"),
    )


def has_fast_bf16(cpu: bool) -> bool:
    """Whether the hardware multiplies bf16 matrices natively."""
    if not cpu:
        return torch.cuda.get_device_capability() >= (8, 0)
    capabilities = torch.cpu.get_capabilities()
    return any(capabilities.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16"))


def _batches(samples: int, config: TrainingConfig) -> Iterator[tuple[int, NDArray[np.int64]]]:
    for epoch in range(config.epochs):
        order = epoch_order(config.seed, epoch, samples)
        for start in range(0, samples - config.batch_size + 1, config.batch_size):
            yield epoch, order[start : start + config.batch_size]


def _make_batch(
    data: Tensor,
    indices: NDArray[np.int64],
    epoch: int,
    side: int,
    noise: int,
    config: TrainingConfig,
) -> Batch:
    uniforms = torch.from_numpy(sample_uniforms(config.seed, epoch, indices, DRAWS + noise)).to(
        data.device
    )
    crops = data[torch.from_numpy(indices).to(data.device)]
    images = augment(crops, uniforms[:, :DRAWS], config.augmentation)
    if side < images.shape[-1]:
        # Every method augments at the side of the store, so that all see the same views.
        images = F.interpolate(images, size=(side, side), mode="area")
    return Batch(images, uniforms[:, DRAWS:])


class _Recorder:
    """Keeps the figures on the device and reads them only when they are logged."""

    def __init__(self, config: TrainingConfig, total: int) -> None:
        self.config, self.total = config, total
        self.rows: list[dict[str, Any]] = []
        self.sums: dict[str, Tensor] = {}
        self.count = 0
        self.started = self.last_row = self.last_line = time.monotonic()

    def add(self, step: int, epoch: int, output: Any, norm: Tensor, lr: float) -> None:
        figures = {"loss": output.loss, **output.losses, "gradient_norm": norm}
        for name, value in figures.items():
            self.sums[name] = self.sums.get(name, 0) + value.detach()
        self.count += 1
        if step % self.config.log_every == 0 or step == self.total:
            self._flush(step, epoch, lr)

    def _flush(self, step: int, epoch: int, lr: float) -> None:
        means = {name: float(value) / self.count for name, value in self.sums.items()}
        now = time.monotonic()
        speed = self.count * self.config.batch_size / max(now - self.last_row, 1e-9)
        figures = {**means, "lr": lr, "images_per_second": speed}
        self.sums, self.count, self.last_row = {}, 0, now
        if not np.isfinite(means["loss"]):
            raise MiramError(
                f"the loss is {means['loss']} at step {step}: lower "
                "training.optimizer.base_lr, or set training.precision=fp32"
            )
        self.rows.append({"step": step, "epoch": epoch, **figures})
        tell(step, figures)
        if now - self.last_line >= _LINE_EVERY or step == self.total:
            self.last_line = now
            left = (now - self.started) / step * (self.total - step)
            log.info(
                "step %d of %d, loss %.4f, %.0f images/s, %.0f s left",
                step,
                self.total,
                means["loss"],
                speed,
                left,
            )

    def history(self) -> pd.DataFrame:
        return pd.DataFrame(self.rows)
