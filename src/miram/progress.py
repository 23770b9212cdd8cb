"""A progress line for whatever takes longer than a few seconds."""

import logging
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

log = logging.getLogger(__name__)
Item = TypeVar("Item")

_INTERVAL = 5.0  # seconds between two lines


def track(items: Iterable[Item], what: str, total: int | None = None) -> Iterator[Item]:
    """Pass items through and log how many are done, every few seconds, and how long the rest takes.

    A log line works alike in a terminal, a notebook, a batch job and a log file.
    """
    last = time.monotonic()
    begun = last  # the first item waits for workers to start, so the rate is that of the others
    for done, item in enumerate(items, start=1):
        yield item
        now = time.monotonic()
        if done == 1:
            begun = now
        if now - last >= _INTERVAL:
            last = now
            if total is None or done == 1:
                log.info("%s: %d", what, done)
                continue
            left = (now - begun) / (done - 1) * (total - done)
            log.info("%s: %d of %d, %.0f s left", what, done, total, left)
