"""Figures of a running training, told to whoever listens.

They travel as records of Python's logging, so that the loop knows neither MLflow nor any
other tracker: a listener is a `logging.Handler` on `LOGGER`. A record has `step` and
`metrics`, `pictures` or both.
"""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

LOGGER = logging.getLogger("miram.telemetry")
LOGGER.setLevel(logging.INFO)
LOGGER.propagate = False
LOGGER.addHandler(logging.NullHandler())


def tell(
    step: int, metrics: dict[str, float], pictures: dict[str, NDArray[np.uint8]] | None = None
) -> None:
    """Tell the figures of a step.

    Args:
        step: Number of the step, from 1.
        metrics: Figures by name.
        pictures: (H, W) or (H, W, 3) pictures by name, such as a sheet of reconstructions.
    """
    extra = {"step": step, "metrics": metrics, "pictures": pictures or {}}
    LOGGER.info("step %d", step, extra=extra)


@contextmanager
def told_under(prefix: str) -> Iterator[None]:
    """Put a prefix before the names of all that this thread tells, also for its workers.

    Args:
        prefix: Such as `seed1/`; an empty one changes nothing.
    """
    thread = threading.get_ident()

    def rename(record: logging.LogRecord) -> bool:
        if threading.get_ident() == thread:
            for kind in ("metrics", "pictures"):
                found = getattr(record, kind, {})
                setattr(record, kind, {f"{prefix}{name}": one for name, one in found.items()})
        return True

    if not prefix:
        yield
        return
    LOGGER.addFilter(rename)
    try:
        yield
    finally:
        LOGGER.removeFilter(rename)
