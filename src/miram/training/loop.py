"""The training loop: one step's code fits on a screen."""

import logging
import time
from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import TorchDynamoPlugin
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn

from miram.configuration import Config
from miram.errors import MiramError
from miram.models.import_weights import InitializationConfig
from miram.training.augmentation import AugmentationConfig
from miram.training.batches import ModelOutput, Needs, Samples, make_batch
from miram.training.sampling import epoch_order
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
    initialization: InitializationConfig = InitializationConfig()


def train(
    model: nn.Module,
    crops: NDArray[np.uint16],
    side: int,
    config: TrainingConfig,
    *,
    labels: NDArray[np.int64] | None = None,
    lesion: NDArray[np.uint8] | None = None,
) -> pd.DataFrame:
    """Train a model.

    Args:
        model: What it is called with, and what it gives, is told in `miram.training.batches`.
        crops: (n, H, H) uint16, kept on the device.
        side: Side of the images the model takes, in pixels; it divides H.
        config: The budget.
        labels: (n,) classes or (n, K) of 0 and 1, for a model that needs them.
        lesion: (n, h, h) uint8 coverage by the lesion, for a model that needs it.

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
    needs, on_step = Needs.of(model), getattr(model, "on_step", None)
    accelerator = make_accelerator(config)
    optimizer = make_optimizer(model, config.optimizer, config.batch_size)
    model, optimizer = accelerator.prepare(model, optimizer)
    peak = [group["lr"] for group in optimizer.param_groups]
    steps = len(crops) // config.batch_size
    warmup = config.optimizer.warmup_epochs * steps
    recorder = _Recorder(config, total=steps * config.epochs)
    parts = (crops, labels if needs.needs_labels else None, lesion if needs.needs_lesion else None)
    samples = Samples(*(_on_device(part, accelerator.device) for part in parts))
    model.train()
    for step, (epoch, indices) in enumerate(_batches(len(crops), config)):
        batch = make_batch(samples, indices, epoch, side, needs, config.seed, config.augmentation)
        factor = learning_rate_factor(step, warmup, recorder.total)
        for group, lr in zip(optimizer.param_groups, peak, strict=True):
            group["lr"] = lr * factor
        if on_step is not None:
            on_step(step, recorder.total)
        with accelerator.autocast():
            output: ModelOutput = model(**batch)
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


def _on_device(values: NDArray | None, device: torch.device) -> Any:
    if values is None:
        return None
    return torch.from_numpy(np.ascontiguousarray(values)).to(device)


class _Recorder:
    """Keeps the figures on the device and reads them only when they are logged."""

    def __init__(self, config: TrainingConfig, total: int) -> None:
        self.config, self.total = config, total
        self.rows: list[dict[str, Any]] = []
        self.sums: dict[str, Tensor] = {}
        self.count = 0
        self.started = self.last_row = self.last_line = time.monotonic()

    def add(self, step: int, epoch: int, output: ModelOutput, norm: Tensor, lr: float) -> None:
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
