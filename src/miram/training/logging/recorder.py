"""The metrics of a running training: kept on the device, read when they are logged."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from miram.memory import memory_use
from miram.training.config import TrainingConfig
from miram.training.logging.display import Display
from miram.training.logging.telemetry import tell


@dataclass
class StepMetrics:
    """Metrics of one step, each the mean over its samples.

    Attributes:
        sums: () tensors by name.
    """

    sums: dict[str, Tensor] = field(default_factory=dict)

    def add(self, metrics: dict[str, Tensor], weight: float) -> None:
        """Add those of a portion, which counts for a share of the step."""
        for name, value in metrics.items():
            self.sums[name] = self.sums.get(name, 0) + weight * value.detach()


class Recorder:
    """Averages metrics between two logged steps and tells them.

    Args:
        config: How often to log.
        total: Steps of the whole training.
        gather: Means of metrics over all processes.
        device: Whose memory is watched.
        speaks: Whether this process tells metrics; one of several does.
    """

    def __init__(
        self,
        config: TrainingConfig,
        total: int,
        gather: Callable[[Tensor], Tensor],
        *,
        device: torch.device,
        speaks: bool,
    ) -> None:
        self.config, self.total, self.gather, self.speaks = config, total, gather, speaks
        self.device = device
        self.rows: list[dict[str, Any]] = []
        self.sums: dict[str, Tensor] = {}
        self.counts: dict[str, Tensor] = {}  # steps with a finite metric
        self.count = self.skipped = 0
        self.watched: dict[str, float] = {}
        self.waited = 0.0
        self.last_row = time.monotonic()
        self.display = Display(total, shown=speaks)

    def state(self) -> dict[str, Any]:
        """What has to be known to go on recording as if nothing had happened."""
        return {
            "rows": self.rows,
            "sums": {name: value.cpu() for name, value in self.sums.items()},
            "counts": {name: value.cpu() for name, value in self.counts.items()},
            "count": self.count,
            "watched": self.watched,
        }

    def load_state(self, state: dict[str, Any], step: int) -> None:
        """Go on after a step."""
        self.rows, self.sums = list(state["rows"]), dict(state["sums"])
        self.counts = dict(state["counts"])
        self.count, self.watched = state["count"], dict(state["watched"])
        self.display.begin(step)

    def add(self, step: int, epoch: int, metrics: StepMetrics, lr: float, waited: float) -> None:
        """Take up the metrics of a step; one that is not finite is left out of its mean.

        Args:
            step: Steps taken, this one included.
            epoch: From 0.
            metrics: Of the step.
            lr: Its learning rate.
            waited: Seconds that it waited for data.
        """
        for name, value in metrics.sums.items():
            finite = torch.isfinite(value)
            self.sums[name] = _added(self.sums.get(name), torch.where(finite, value, 0))
            self.counts[name] = _added(self.counts.get(name), finite.to(value.dtype))
        self.count += 1
        self.waited += waited
        self._flush_if_due(step, epoch, lr)

    def leave_out(self, step: int, epoch: int, lr: float, waited: float) -> None:
        """Count a step that was not finite; the row that is due then is of the others.

        Args: As `add`.
        """
        self.skipped += 1
        self.waited += waited
        if self.count:
            self._flush_if_due(step, epoch, lr)

    def end(self) -> None:
        """Let what came after the last row join it: a look, or steps that were left out."""
        if self.rows:
            self.rows[-1] |= self.watched | self._left_out()
        self.watched = {}

    def watch(self, step: int, metrics: dict[str, float]) -> None:
        """Take up metrics that are measured now and then; they join the row of the step.

        If the step has none, they join the next one.
        """
        if self.rows and self.rows[-1]["step"] == step:
            self.rows[-1] |= metrics
        else:
            self.watched |= metrics

    def _left_out(self) -> dict[str, int]:
        return {"skipped": self.skipped} if self.config.on_nan == "skip" else {}

    def _flush_if_due(self, step: int, epoch: int, lr: float) -> None:
        if step % self.config.log_every == 0 or step == self.total:
            self._flush(step, epoch, lr)

    def _flush(self, step: int, epoch: int, lr: float) -> None:
        means = {
            name: float(self.gather(value / self.counts[name])) for name, value in self.sums.items()
        }
        now = time.monotonic()
        passed = max(now - self.last_row, 1e-9)
        memory = memory_use(self.device).peak
        speed = self.count * self.config.samples_per_step / passed
        told = {**means, "lr": lr, "images_per_second": speed, **self._left_out()}
        machine = {"data_wait": self.waited / passed, "peak_memory_gb": memory / 1e9}
        self.rows.append({"step": step, "epoch": epoch, **told, **machine, **self.watched})
        if self.speaks:
            tell(step, {**told, **machine})
            self.display.update(step, means["loss"], speed, memory)
        self.sums, self.counts, self.count, self.waited, self.watched = {}, {}, 0, 0.0, {}
        self.last_row = now

    def repeat(self) -> None:
        """Tell again what an earlier run recorded."""
        for row in self.rows if self.speaks else ():
            tell(row["step"], {k: v for k, v in row.items() if k not in ("step", "epoch")})

    def history(self) -> pd.DataFrame:
        """One row per logged step."""
        return pd.DataFrame(self.rows)


def _added(kept: Tensor | None, value: Tensor) -> Tensor:
    return value if kept is None else kept.to(value.device) + value
