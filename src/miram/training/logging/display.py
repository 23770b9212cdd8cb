"""How far a training is: a bar in a terminal, a line every few seconds elsewhere."""

import logging
import time
from types import TracebackType
from typing import Self

import rich
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

log = logging.getLogger(__name__)
_LINE_EVERY = 5.0  # seconds between two lines


class Display:
    """Shows steps, loss, images per second, memory and the time left.

    Args:
        total: Steps of the whole training.
        shown: Whether anything is shown; one process of several does.
    """

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

    def __enter__(self) -> Self:
        if self.bar:
            self.bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.bar:
            self.bar.stop()

    def begin(self, step: int) -> None:
        """Go on after a step, from which on the time left is reckoned."""
        self.first, self.started = step, time.monotonic()
        if self.bar:
            self.bar.update(self.task, completed=step)

    def update(self, step: int, loss: float, images_per_second: float, memory: int) -> None:
        """Show a step.

        Args:
            step: Steps taken.
            loss: Mean since the last time.
            images_per_second: Since the last time.
            memory: Bytes at most so far.
        """
        if not self.shown:
            return
        metrics = f"loss {loss:.4f}, {images_per_second:.0f} images/s, {memory / 1e9:.1f} GB"
        if self.bar:
            self.bar.update(self.task, completed=step, metrics=metrics)
        now = time.monotonic()
        ends = step == self.total
        if ends or (not self.bar and now - self.last_line >= _LINE_EVERY):
            self.last_line = now
            left = (now - self.started) / max(1, step - self.first) * (self.total - step)
            log.info("step %d of %d, %s, %.0f s left", step, self.total, metrics, left)
