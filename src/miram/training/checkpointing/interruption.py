"""Ctrl-C and SIGTERM end a training after the step at hand, with its state written down."""

import logging
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Self

from miram.errors import MiramError

log = logging.getLogger(__name__)

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_asked: list[signal.Signals] = []


class TrainingInterrupted(MiramError):
    """The training was asked to stop and can be resumed later.

    Attributes:
        exit_code: 128 and the number of the signal, as shells have it.
    """

    def __init__(self, message: str, exit_code: int = 128 + signal.SIGTERM) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def ask_to_stop(by: signal.Signals) -> None:
    """Ask every training of this process to end after the step at hand."""
    _asked.append(by)


def asked_to_stop() -> signal.Signals | None:
    """The signal by which trainings of this process were asked to end, if they were."""
    return _asked[0] if _asked else None


class Interruption:
    """Remembers a signal within the block; a second one acts as it would have outside.

    Signals reach the main thread of a process alone; other threads learn by `asked_to_stop`.
    """

    def __init__(self) -> None:
        self._caught: signal.Signals | None = None
        self._before: dict[signal.Signals, Any] = {}

    @property
    def signal(self) -> signal.Signals | None:
        """The signal that asks to stop, if one came."""
        return self._caught or asked_to_stop()

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._before = {name: signal.signal(name, self._remember) for name in _SIGNALS}
        return self

    def __exit__(self, *error: object) -> None:
        self._restore()

    def _remember(self, number: int, frame: FrameType | None) -> None:
        self._caught = signal.Signals(number)
        self._restore()
        log.warning("%s: ending after this step", self._caught.name)

    def _restore(self) -> None:
        for name, handler in self._before.items():
            signal.signal(name, handler)
        self._before = {}

    def stop(self, step: int, total: int, again: str | None) -> TrainingInterrupted:
        """The error that ends the training; `again` is the command that resumes it, in words."""
        by = self.signal or signal.SIGTERM  # it may have reached another process only
        lost = "nothing was kept, as this training has no folder"
        advice = f"{again} resumes from there" if again else lost
        return TrainingInterrupted(
            f"stopped by {by.name} after step {step} of {total}; {advice}", 128 + by.value
        )


@contextmanager
def passing_signals_on() -> Iterator[None]:
    """Let Ctrl-C and SIGTERM reach the trainings of all threads; to be entered in the main one.

    The first signal asks them to stop, a second one acts as it would have outside.
    """

    class ForAll(Interruption):
        def _remember(self, number: int, frame: FrameType | None) -> None:
            super()._remember(number, frame)
            ask_to_stop(signal.Signals(number))

    try:
        with ForAll():
            yield
    finally:
        _asked.clear()
