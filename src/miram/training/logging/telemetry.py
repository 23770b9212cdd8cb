"""Metrics of a running training, logged for whoever listens.

They travel as records of Python's logging, so that the loop knows neither MLflow nor any
other tracker: a listener is a `logging.Handler` on `LOGGER`. A record has `step` and
`metrics`, `pictures` or both; `run` where it is of something compared within a node, not of the
node's method.
"""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import nn

# No child of `miram`: a configuration of logging that names a parent resets its children's level,
# drops their listeners and prints their records.
LOGGER = logging.getLogger("miram_telemetry")
LOGGER.setLevel(logging.INFO)
LOGGER.propagate = False
LOGGER.addHandler(logging.NullHandler())


@dataclass(frozen=True)
class Validation:
    """What validation of a model under training found, by name."""

    metrics: dict[str, float] = field(default_factory=dict)
    pictures: dict[str, NDArray[np.uint8]] = field(default_factory=dict)  # (H, W) or (H, W, 3)


ValidationCallback = Callable[["nn.Module"], Validation]
"""Called with the model in evaluation mode; changes neither weights nor random numbers."""


def log_metrics(
    step: int,
    metrics: dict[str, float],
    pictures: dict[str, NDArray[np.uint8]] | None = None,
    run: str = "",
) -> None:
    """Log the metrics and pictures of a step, counted from 1; both are as in `Validation`."""
    extra = {"step": step, "metrics": metrics, "pictures": pictures or {}, "run": run}
    LOGGER.info("step %d", step, extra=extra)


@contextmanager
def log_prefix(prefix: str) -> Iterator[None]:
    """Put a prefix such as `seed1/` before the names of all that this thread logs."""

    def rename(record: logging.LogRecord) -> None:
        for kind in ("metrics", "pictures"):
            found = getattr(record, kind, {})
            setattr(record, kind, {f"{prefix}{name}": one for name, one in found.items()})

    with _changed(rename):
        yield


@contextmanager
def log_step_offset(steps: int) -> Iterator[None]:
    """Count the steps of all that this thread logs on from those of an earlier training."""

    def move(record: logging.LogRecord) -> None:
        record.step = getattr(record, "step", 0) + steps

    with _changed(move):
        yield


@contextmanager
def _changed(change: Callable[[logging.LogRecord], None]) -> Iterator[None]:
    """Change the records of this thread before anyone hears them."""
    thread = threading.get_ident()

    def of_this_thread(record: logging.LogRecord) -> bool:
        if threading.get_ident() == thread:
            change(record)
        return True

    LOGGER.addFilter(of_this_thread)
    try:
        yield
    finally:
        LOGGER.removeFilter(of_this_thread)
