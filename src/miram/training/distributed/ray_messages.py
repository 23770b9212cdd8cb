"""What travels between driver and workers of a training: metrics, log lines, errors, a wish.

Everything goes through one actor, the mailbox, which the driver empties as often as it likes.
"""

import logging
import logging.handlers
import pickle
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from miram.errors import MiramError
from miram.training.checkpointing.interruption import ask_to_stop

_TOLD = ("miram", "miram_telemetry")  # loggers that are heard; the second does not propagate
_LISTEN_EVERY = 1.0  # seconds


class Mailbox:
    """Holds what workers tell until the driver takes it; an actor, so one call at a time."""

    def __init__(self) -> None:
        self.records: list[logging.LogRecord] = []
        self.refusal: bytes | None = None
        self.stop: int | None = None

    def put(self, record: logging.LogRecord) -> None:
        """Take up a log record."""
        self.records.append(record)

    def refuse(self, error: bytes) -> None:
        """Take up an error that ends the training for good; the first one counts."""
        self.refusal = self.refusal or error

    def take(self) -> tuple[list[logging.LogRecord], bytes | None]:
        """Hand out the records since the last time, and the error if there is one."""
        records, self.records = self.records, []
        return records, self.refusal

    def ask_to_stop(self, number: int) -> None:
        """Take up the driver's wish to stop: the number of a signal."""
        self.stop = number

    def asked_to_stop(self) -> int | None:
        """The driver's wish, if it has one."""
        return self.stop


@contextmanager
def telling(mailbox: Any) -> Iterator[None]:
    """Send this process's log records to the driver.

    Args:
        mailbox: The actor.
    """
    handler = _ToMailbox(mailbox)
    loggers = [logging.getLogger(name) for name in _TOLD]
    for logger in loggers:
        logger.addHandler(handler)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeHandler(handler)


class _ToMailbox(logging.handlers.QueueHandler):
    def __init__(self, mailbox: Any) -> None:
        super().__init__(mailbox)

    def enqueue(self, record: logging.LogRecord) -> None:
        self.queue.put.remote(record)  # type: ignore[attr-defined]


def tell_again(record: logging.LogRecord) -> None:
    """Hand a record from another process to whoever listens in this one."""
    logger = logging.getLogger(record.name)
    if logger.isEnabledFor(record.levelno):
        logger.handle(record)


@contextmanager
def listening(ray: ModuleType, mailbox: Any) -> Iterator[None]:
    """Pass the driver's wish to stop on to the training of this process.

    Args:
        ray: The connected module.
        mailbox: The actor.
    """
    over = threading.Event()

    def listen() -> None:
        while not over.wait(_LISTEN_EVERY):
            number = ray.get(mailbox.asked_to_stop.remote())
            if number is not None:
                ask_to_stop(signal.Signals(number))
                return

    thread = threading.Thread(target=listen, name="miram-listen", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def packed(error: Exception) -> bytes:
    """Pickle an error, or its text where it holds what cannot be pickled."""
    from ray import cloudpickle

    try:
        content: bytes = cloudpickle.dumps((type(error), error.__reduce__()[1], vars(error)))
        unpacked(content)
    except Exception:  # whatever a part of it makes pickle raise
        kind = MiramError if isinstance(error, MiramError) else RuntimeError
        return packed(kind(str(error)))
    return content


def unpacked(content: bytes) -> Exception:
    """Rebuild an error without its constructor, which may ask for more than pickle knows of."""
    kind, args, state = pickle.loads(content)
    error: Exception = kind.__new__(kind, *args)
    vars(error).update(state)
    return error
