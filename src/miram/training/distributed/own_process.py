"""The work of a node in a process of its own, so that several run side by side on one machine.

Trainings of small models gain little from a second thread, and Python takes its threads in turns.
In processes of their own each has its cores to itself, and gives what it gives alone with as many
threads.

    command: a thread per method ── pickled call ──► process
       └◄── records (metrics, log lines), then the result, on one pipe

On Linux they are forked from one process that has imported what takes seconds: `preloaded`.
"""

import contextlib
import logging
import logging.handlers
import multiprocessing
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from typing import Any, NamedTuple, TypeVar

import cloudpickle

from miram.errors import MiramError
from miram.training.checkpointing.interruption import (
    Interruption,
    TrainingInterrupted,
    asked_to_stop,
)

Result = TypeVar("Result")

FORKS = sys.platform == "linux"  # elsewhere libraries of the system do not outlive a fork

LOGGERS = ("miram", "miram_telemetry")  # what a training logs to; the second does not propagate

_POLL = 0.2  # seconds between two looks for a signal
_GRACE = 30.0  # seconds for a process to end after its step


class _Done(NamedTuple):
    value: Any
    error: Exception | None


def in_own_process(
    function: Callable[..., Result], args: tuple[Any, ...], kwargs: dict[str, Any], threads: int
) -> Result:
    """Call a function in a new process of some threads, and log what it logs on the calling thread.

    Raises:
        MiramError: The function raised it, or the process died.
        TrainingInterrupted: Ctrl-C or SIGTERM; the process was asked to end after its step.
    """
    context = _context()
    here, there = context.Pipe(duplex=False)
    call = cloudpickle.dumps((function, args, kwargs))
    process = context.Process(target=_work, args=(call, threads, there), daemon=True)
    try:
        process.start()
    except (OSError, EOFError) as error:
        if by := asked_to_stop():
            raise interrupted(by) from None
        raise MiramError(
            f"no process can be started ({type(error).__name__}: {error}): "
            "engine.parallel_methods=1 needs none"
        ) from error
    there.close()  # so that the end of the process ends the pipe
    try:
        done = _follow(here, process)
    finally:
        process.join(_GRACE)
        process.kill()
        here.close()
    if done.error is not None:
        raise done.error
    result: Result = cloudpickle.loads(done.value)
    return result


def _context() -> Any:
    if FORKS:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["miram.training.distributed.preloaded"])
        # It needs a socket, which a folder for temporary files of a long name cannot hold.
        with contextlib.suppress(OSError):
            forkserver.ensure_running()
            return context
    return multiprocessing.get_context("spawn")


def _follow(here: Connection, process: Any) -> _Done:
    asked: signal.Signals | None = None
    deadline = float("inf")
    with Interruption() as interruption:
        while True:
            try:
                # One message at a time: a training that logs without pause is stopped as well.
                if here.poll(_POLL):
                    message = here.recv()
                    if isinstance(message, _Done):
                        return message
                    log_again(message)
            except (EOFError, ConnectionError):
                process.join(_GRACE)
                if by := asked or interruption.signal:  # perhaps both were told
                    raise interrupted(by) from None
                raise MiramError(
                    f"the process of this node died with exit code {process.exitcode}: it was "
                    "killed or ran out of memory. The same command resumes from the last state "
                    "kept; engine.parallel_methods=1 takes one method at a time"
                ) from None
            if not asked and (asked := interruption.signal):
                deadline = time.monotonic() + _GRACE
                with contextlib.suppress(ProcessLookupError):  # it may have ended by itself
                    os.kill(process.pid, asked)
            if asked and time.monotonic() > deadline:
                raise interrupted(asked)


def _work(call: bytes, threads: int, there: Connection) -> None:
    os.setpgid(0, 0)  # Ctrl-C reaches the command alone, which passes it on
    for stop in (signal.SIGINT, signal.SIGTERM):  # work that does not listen ends at once
        signal.signal(stop, signal.SIG_DFL)
    threading.Thread(target=_end_with_the_command, daemon=True).start()
    import torch

    torch.set_num_threads(threads)
    try:
        function, args, kwargs = cloudpickle.loads(call)
        for name in LOGGERS:  # what was imported may have given them others
            logger = logging.getLogger(name)
            logger.handlers, logger.propagate = [_Sender(there)], False
            logger.setLevel(logging.INFO)
        done = _Done(cloudpickle.dumps(function(*args, **kwargs)), None)
    except Exception as error:
        done = _Done(None, _sendable(error))
    there.send(done)
    there.close()


def _end_with_the_command() -> None:
    command = multiprocessing.parent_process()
    if command is not None:
        command.join()
        os._exit(1)


def _sendable(error: Exception) -> Exception:
    """The error, or its words where it cannot be pickled."""
    try:
        cloudpickle.loads(cloudpickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


class _Sender(logging.handlers.QueueHandler):
    """Sends records to the command; without a command there is nothing left to do."""

    def __init__(self, there: Connection) -> None:
        super().__init__(queue.SimpleQueue())  # unused
        self.there = there

    def enqueue(self, record: logging.LogRecord) -> None:
        try:
            self.there.send(record)
        except OSError:
            os._exit(1)


def log_again(record: logging.LogRecord) -> None:
    """Hand a record from another process to whoever listens in this one."""
    logger = logging.getLogger(record.name)
    if logger.isEnabledFor(record.levelno):
        logger.handle(record)


def interrupted(by: signal.Signals) -> TrainingInterrupted:
    """The error of a training that was ended by a signal."""
    return TrainingInterrupted(
        f"stopped by {by.name}; the same command resumes from the last state kept", 128 + by.value
    )
