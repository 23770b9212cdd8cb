"""Brings operations to an MLflow server in their order, however often it goes away.

A thread of its own does it, so that a training never waits for a server.
"""

import logging
import threading
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from miram.integrations.mlflow.config import MlflowConfig
from miram.integrations.mlflow.journal import Journal, leftovers
from miram.integrations.mlflow.operations import Operation
from miram.integrations.mlflow.server import Server, refused

log = logging.getLogger(__name__)

MOST_TRIES = 5  # of an operation that fails while the server answers
_SILENCE = 5.0  # seconds without a word at the end of a command


class Sender:
    """Sends what earlier commands left, then what this one adds.

    A server that is away costs one warning. It is asked again every `retry_seconds` and when
    the command ends; until then everything waits in the journal. An operation that the server
    refuses, or that keeps failing while the server answers, is dropped with a warning.

    Args:
        config: The server and the folder of the journals.
    """

    def __init__(self, config: MlflowConfig) -> None:
        self.config = config
        earlier = leftovers(config)
        self.journal = Journal.create(config)
        self._journals = [*earlier, self.journal]
        # Imports MLflow here: two threads that import large packages at once may lock up.
        self._servers = {id(journal): Server(journal.config) for journal in self._journals}
        self._away = self._warned = False
        self._refusals: set[tuple[str, str]] = set()
        self._wake, self._closing = threading.Event(), threading.Event()
        if left := len(self):
            log.info("%d MLflow records of earlier commands are sent first", left)
        self._thread = threading.Thread(target=self._run, name="mlflow", daemon=True)
        self._thread.start()

    def add(self, operation: Operation) -> None:
        """Send an operation after all others; returns at once."""
        self.journal.append(operation)
        self._wake.set()

    def add_picture(self, run: str, name: str, step: int, picture: NDArray[np.uint8]) -> None:
        """Send a picture after all others.

        Args:
            run: Whose.
            name: What it shows.
            step: Of the training.
            picture: (H, W) or (H, W, 3).
        """
        path = self.journal.keep_picture(step, picture)
        self.add(Operation("picture", run, {"path": str(path), "name": name, "step": step}))

    def close(self) -> None:
        """Send what waits as long as the server answers; the rest waits for the next command."""
        self._closing.set()
        self._wake.set()
        self._thread.join(_SILENCE)
        if self._thread.is_alive():
            log.info("MLflow is sent %d records; Ctrl-C leaves them to the next command", len(self))
            self._thread.join()
        left = len(self)
        for journal in self._journals:
            journal.close()
        if left:
            log.info(
                "%d records wait in %s: the next command sends them to MLflow",
                left,
                self.config.pending,
            )

    def __len__(self) -> int:
        return sum(len(journal) for journal in self._journals)

    def _run(self) -> None:
        while True:
            # Asked before, so that whatever came until then is part of the last attempt.
            last = self._closing.is_set()
            self._wake.clear()
            drained = self._drain()
            if last:
                return
            if drained:
                self._wake.wait()
            else:
                self._closing.wait(self.config.retry_seconds)

    def _drain(self) -> bool:
        """Send until nothing waits; false if the server does not take it now."""
        for journal in self._journals:
            server = self._servers[id(journal)]
            if self._away and not server.answers():
                return False
            while request := journal.next_request():
                try:
                    runs = self._send(server, request, journal.runs)
                except Exception as error:  # whatever the server does, the training goes on
                    if not self._is_hopeless(server, journal, error):
                        return False
                    self._drop(request[0], error)
                    journal.delivered(1, {})
                else:
                    self._is_back()
                    journal.delivered(len(request), runs)
        return True

    def _send(
        self, server: Server, request: Sequence[Operation], runs: dict[str, str]
    ) -> dict[str, str]:
        first = request[0]
        if first.kind != "open" and first.run not in runs:
            return {}  # its run was refused
        try:
            return server.perform(request, runs)
        except Exception as error:
            if not refused(error):
                raise
            parts = [part for operation in request for part in operation.parts()]
            if len(parts) == 1:
                self._drop(first, error)
            else:
                for part in parts:
                    self._send(server, [part], runs)
            return {}

    def _is_hopeless(self, server: Server, journal: Journal, error: Exception) -> bool:
        """Whether to give up the operation that just failed."""
        if server.answers():
            return journal.tried() >= MOST_TRIES
        self._away = True
        if not self._warned:
            self._warned = True
            log.warning(
                "MLflow at %s does not answer (%s): the work goes on, and records wait in %s",
                self.config.tracking_uri,
                _first_line(error),
                self.config.pending,
            )
        return False

    def _is_back(self) -> None:
        if self._away:
            self._away = False
            uri, left = self.config.tracking_uri, len(self)
            log.info("MLflow at %s answers again: sending what waits (%d records)", uri, left)

    def _drop(self, operation: Operation, error: Exception) -> None:
        """Tell what is lost, once for each kind and run."""
        what = (operation.kind, operation.run)
        level = logging.DEBUG if what in self._refusals else logging.WARNING
        self._refusals.add(what)
        log.log(
            level,
            "MLflow does not take %s of %s: %s",
            operation.kind,
            operation.values,
            _first_line(error),
        )


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
