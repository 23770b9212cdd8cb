"""The metrics of a running training: kept on the device, read, logged and shown now and then."""

import logging
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import pandas as pd
import rich
import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor

from miram.memory import peak_memory
from miram.training.config import TrainingConfig
from miram.training.logging.telemetry import log_metrics

log = logging.getLogger(__name__)

Metrics = dict[str, Tensor]
"""() tensors by name."""


class Recorder:
    """Averages metrics between two logged steps.

    `mean` averages a metric over all processes, of which one `speaks`: it logs and shows.
    """

    def __init__(
        self,
        config: TrainingConfig,
        total: int,
        mean: Callable[[Tensor], Tensor],
        *,
        device: torch.device,
        speaks: bool,
    ) -> None:
        self.config, self.total, self.mean, self.speaks = config, total, mean, speaks
        self.device = device
        self.rows: list[dict[str, Any]] = []
        self.sums: Metrics = {}
        self.counts: Metrics = {}  # steps with a finite metric
        self.count = self.skipped = 0
        self.validated: dict[str, float] = {}
        self.waited = 0.0
        self.last_row = time.monotonic()
        self.display = Display(total, shown=speaks)

    def state(self) -> dict[str, Any]:
        """What has to be known to record on as if nothing had happened."""
        return {
            "rows": self.rows,
            "sums": {name: value.cpu() for name, value in self.sums.items()},
            "counts": {name: value.cpu() for name, value in self.counts.items()},
            "count": self.count,
            "validated": self.validated,
        }

    def load_state(self, state: dict[str, Any], step: int) -> None:
        """Resume after a step."""
        self.rows, self.sums = list(state["rows"]), dict(state["sums"])
        self.counts = dict(state["counts"])
        self.count, self.validated = state["count"], dict(state["validated"])
        self.display.begin(step)

    def add(self, step: int, epoch: int, metrics: Metrics, lr: float, waited: float) -> None:
        """Take up the metrics of a step, counted from 1, that waited some seconds for data.

        A metric that is not finite is left out of its mean.
        """
        for name, value in metrics.items():
            finite = torch.isfinite(value)
            self.sums[name] = _added(self.sums.get(name), torch.where(finite, value, 0))
            self.counts[name] = _added(self.counts.get(name), finite.to(value.dtype))
        self.count += 1
        self.waited += waited
        self._flush_if_due(step, epoch, lr)

    def leave_out(self, step: int, epoch: int, lr: float, waited: float) -> None:
        """Count a step that was not finite; the row that is due then is of the others."""
        self.skipped += 1
        self.waited += waited
        if self.count:
            self._flush_if_due(step, epoch, lr)

    def validate(self, step: int, metrics: dict[str, float]) -> None:
        """Let the metrics of validation join the row of the step, or else the next one."""
        if self.rows and self.rows[-1]["step"] == step:
            self.rows[-1] |= metrics
        else:
            self.validated |= metrics

    def end(self) -> None:
        """Let what came after the last row join it: validation, or steps that were left out."""
        if self.rows:
            self.rows[-1] |= self.validated | self._left_out()
        self.validated = {}

    def repeat(self) -> None:
        """Log again what an earlier run recorded."""
        for row in self.rows if self.speaks else ():
            log_metrics(row["step"], {k: v for k, v in row.items() if k not in ("step", "epoch")})

    def history(self) -> pd.DataFrame:
        """One row per logged step."""
        return pd.DataFrame(self.rows)

    def _left_out(self) -> dict[str, int]:
        return {"skipped": self.skipped} if self.config.on_nan == "skip" else {}

    def _flush_if_due(self, step: int, epoch: int, lr: float) -> None:
        if step % self.config.log_every and step != self.total:
            return
        means = {n: float(self.mean(value / self.counts[n])) for n, value in self.sums.items()}
        now = time.monotonic()
        passed = max(now - self.last_row, 1e-9)
        memory = peak_memory(self.device)
        speed = self.count * self.config.samples_per_step / passed
        found = {**means, "lr": lr, "images_per_second": speed, **self._left_out()}
        found |= {"data_wait": self.waited / passed, "peak_memory_gb": memory / 1e9}
        self.rows.append({"step": step, "epoch": epoch, **found, **self.validated})
        if self.speaks:
            log_metrics(step, found)
            self.display.update(step, means["loss"], speed, memory)
        self.sums, self.counts, self.count, self.waited, self.validated = {}, {}, 0, 0.0, {}
        self.last_row = now


def _added(kept: Tensor | None, value: Tensor) -> Tensor:
    return value if kept is None else kept.to(value.device) + value


class Display:
    """How far a training is: a bar in a terminal, a line every few seconds elsewhere."""

    LINE_EVERY = 5.0  # seconds between two lines

    def __init__(self, total: int, *, shown: bool) -> None:
        self.total, self.shown, self.first = total, shown, 0
        self.started = self.last_line = time.monotonic()
        self.bar: Progress | None = None
        # The console of the log's own handler, so that lines go above the bar, not through it.
        if shown and rich.get_console().is_terminal:
            self.bar = Progress(
                TextColumn("training"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[metrics]}"),
                TimeRemainingColumn(),
                console=rich.get_console(),
                transient=True,
            )
            self.task = self.bar.add_task("training", total=total, metrics="")

    def running(self) -> AbstractContextManager[Any]:
        """Show the bar within the block."""
        return self.bar or nullcontext()

    def begin(self, step: int) -> None:
        """Resume after a step, from which on the time left is reckoned."""
        self.first, self.started = step, time.monotonic()
        if self.bar:
            self.bar.update(self.task, completed=step)

    def update(self, step: int, loss: float, images_per_second: float, memory: int) -> None:
        """Show a step with loss and speed since the last time, and bytes at most so far."""
        if not self.shown:
            return
        metrics = f"loss {loss:.4f}, {images_per_second:.0f} images/s, {memory / 1e9:.1f} GB"
        if self.bar:
            self.bar.update(self.task, completed=step, metrics=metrics)
        now = time.monotonic()
        ends = step == self.total
        if ends or (not self.bar and now - self.last_line >= self.LINE_EVERY):
            self.last_line = now
            left = (now - self.started) / max(1, step - self.first) * (self.total - step)
            log.info("step %d of %d, %s, %.0f s left", step, self.total, metrics, left)
