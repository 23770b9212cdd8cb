"""Metrics of a running training, told to whoever listens.

They travel as records of Python's logging, so that the loop knows neither MLflow nor any
other tracker: a listener is a `logging.Handler` on `LOGGER`. A record has `step` and
`metrics`, `pictures` or both.
"""

import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import nn

# No child of `miram`: a configuration of logging that names a parent resets its children's level,
# drops their listeners and prints what they tell.
LOGGER = logging.getLogger("miram_telemetry")
LOGGER.setLevel(logging.INFO)
LOGGER.propagate = False
LOGGER.addHandler(logging.NullHandler())


def tell(
    step: int, metrics: dict[str, float], pictures: dict[str, NDArray[np.uint8]] | None = None
) -> None:
    """Tell the metrics of a step.

    Args:
        step: Number of the step, from 1.
        metrics: Metrics by name.
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

    def rename(record: logging.LogRecord) -> None:
        for kind in ("metrics", "pictures"):
            found = getattr(record, kind, {})
            setattr(record, kind, {f"{prefix}{name}": one for name, one in found.items()})

    with _changed(rename) if prefix else nullcontext():
        yield


@contextmanager
def told_after(steps: int) -> Iterator[None]:
    """Let the steps of all that this thread tells go on after those of an earlier training.

    Args:
        steps: Of the earlier training, such as that of the fold before.
    """

    def move(record: logging.LogRecord) -> None:
        record.step = getattr(record, "step", 0) + steps

    with _changed(move) if steps else nullcontext():
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


@dataclass(frozen=True)
class Looks:
    """What a look at a model under training found.

    Attributes:
        metrics: By name, such as `rankme`.
        pictures: (H, W) or (H, W, 3) uint8 by name.
    """

    metrics: dict[str, float] = field(default_factory=dict)
    pictures: dict[str, NDArray[np.uint8]] = field(default_factory=dict)


Watch = Callable[["nn.Module"], Looks]


def join_histories(histories: Mapping[str | int, pd.DataFrame], column: str) -> pd.DataFrame:
    """Put the histories of folds or seeds into one.

    Folds are one training after the other, whose steps go on from fold to fold. Seeds repeat the
    same training, so that their steps are the same.

    Args:
        histories: Table with `step` by part, at least one; a single one stays as it is.
        column: Where the part is named, `fold` or `seed`.
    """
    if len(histories) == 1:
        return next(iter(histories.values()))
    tables = list(histories.values())
    last = [0 if column == "seed" else last_step(table) for table in tables]
    before = np.cumsum([0, *last[:-1]])
    moved = [
        table.assign(**{"step": table["step"] + start, column: part})
        for part, table, start in zip(histories, tables, before, strict=True)
    ]
    return pd.concat(moved, ignore_index=True)


def last_step(history: pd.DataFrame) -> int:
    """How many steps a training took; 0 of a method that does not train."""
    return 0 if history.empty else int(history["step"].max())
