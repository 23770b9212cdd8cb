"""The operations of one command that wait for the server, kept on disk until it has them.

A journal is a file of JSON lines: first the store it is meant for, then operations and, between
them, receipts of what was delivered. It is written all the time and removed when everything
arrived, so that neither a dead server nor a killed command loses a record. A lock tells other
commands whether its own is still alive.
"""

import contextlib
import json
import logging
import shutil
import threading
import uuid
from collections import deque
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from miram.integrations.mlflow.config import MlflowConfig
from miram.integrations.mlflow.operations import Operation, first_request, now

log = logging.getLogger(__name__)

_HEADER = ("tracking_uri", "experiment", "artifacts")


class Journal:
    """Operations that wait, in their order.

    Args:
        path: The file; it need not exist.
        config: The store the operations are meant for.

    Attributes:
        runs: The server's names of the runs that were opened.
    """

    def __init__(self, path: Path, config: MlflowConfig) -> None:
        self.path, self.config = path, config
        self.pictures = path.with_suffix("")
        self.runs: dict[str, str] = {}
        self._open_runs: dict[str, None] = {}
        self._waiting: deque[tuple[int, Operation]] = deque()
        self._number = self._tries = 0
        self._kept = True
        self._guard = threading.Lock()
        # Taken in one thread and released in another.
        self._lock = FileLock(path.with_suffix(".lock"), thread_local=False)

    @classmethod
    def create(cls, config: MlflowConfig) -> "Journal":
        """Begin the journal of a command."""
        name = f"{now():013d}-{uuid.uuid4().hex[:8]}.jsonl"
        journal = cls(Path(config.pending) / name, config)
        try:
            journal.path.parent.mkdir(parents=True, exist_ok=True)
            journal._lock.acquire()
        except OSError as error:
            journal._not_kept(error)
        journal._write({name: getattr(config, name) for name in _HEADER})
        return journal

    def __len__(self) -> int:
        return len(self._waiting)

    def append(self, operation: Operation) -> None:
        """Add an operation at the end."""
        with self._guard:
            self._number += 1
            self._take_in(self._number, operation)
            self._write({"number": self._number, "operation": asdict(operation)})

    def next_request(self) -> list[Operation]:
        """The operations that go to the server next; none if nothing waits."""
        with self._guard:
            return first_request(operation for _, operation in self._waiting)

    def delivered(self, count: int, runs: dict[str, str]) -> None:
        """Strike off the first operations.

        Args:
            count: How many.
            runs: The server's names of the runs that they opened.
        """
        with self._guard:
            done = [self._waiting.popleft() for _ in range(count)]
            self.runs |= runs
            self._tries = 0
            self._write({"delivered": done[-1][0], "runs": runs})
        for _, operation in done:
            if operation.kind == "picture":
                with contextlib.suppress(OSError):  # goes with the folder at the latest
                    Path(operation.values["path"]).unlink(missing_ok=True)

    def tried(self) -> int:
        """Count a failure of the next operation; how many there were."""
        with self._guard:
            self._tries += 1
            self._write({"tries": self._tries})
        return self._tries

    def keep_picture(self, step: int, picture: NDArray[np.uint8]) -> Path:
        """Write a picture beside the journal.

        Args:
            step: Of the training.
            picture: (H, W) or (H, W, 3).

        Returns:
            Its PNG file.

        Raises:
            OSError: It cannot be written.
        """
        from PIL import Image

        self.pictures.mkdir(parents=True, exist_ok=True)
        path = self.pictures / f"{step:09d}-{uuid.uuid4().hex[:8]}.png"
        Image.fromarray(picture).save(path)
        return path

    def close(self) -> None:
        """Let go of the file, which is removed if nothing waits."""
        self._lock.release()
        if self._waiting:
            return
        try:
            self.path.unlink(missing_ok=True)
            Path(self._lock.lock_file).unlink(missing_ok=True)
            if self.pictures.exists():
                shutil.rmtree(self.pictures)
        except OSError as error:
            if self._kept:
                log.warning("%s can be deleted, but not from here: %s", self.path, error)

    def _take_in(self, number: int, operation: Operation) -> None:
        self._waiting.append((number, operation))
        if operation.kind == "open":
            self._open_runs[operation.run] = None
        elif operation.kind == "end":
            self._open_runs.pop(operation.run, None)

    def _write(self, record: dict[str, Any]) -> None:
        try:
            with self.path.open("a") as file:
                # The newline comes first, so that a torn line spoils no other.
                file.write(f"\n{json.dumps(record)}")
        except OSError as error:
            self._not_kept(error)

    def _not_kept(self, error: OSError) -> None:
        if self._kept:
            self._kept = False
            log.warning(
                "what waits for MLflow cannot be kept in %s (%s): it is lost if the server does "
                "not answer before this command ends",
                self.path.parent,
                error,
            )

    def _read(self) -> bool:
        """Read the file; false if it is meant for another server."""
        header, *records = _records(self.path)
        if header["tracking_uri"] != self.config.tracking_uri:
            log.info("%s waits for MLflow at %s", self.path, header["tracking_uri"])
            return False
        self.config = self.config.model_copy(update={name: header[name] for name in _HEADER})
        last = 0
        for record in records:
            if "operation" in record:
                operation = Operation(**record["operation"])
                self._number, last = record["number"], operation.time
                self._take_in(self._number, operation)
            elif "delivered" in record:
                self.runs |= record["runs"]
                self._tries = 0
                while self._waiting and self._waiting[0][0] <= record["delivered"]:
                    self._waiting.popleft()
            elif "tries" in record:
                self._tries = record["tries"]
        for run in list(self._open_runs):
            self.append(Operation("end", run, {"status": "KILLED"}, last))
        return True


def leftovers(config: MlflowConfig) -> list[Journal]:
    """Journals of earlier commands on the same server, the oldest first.

    Those of commands that still run, and of other servers, are left alone. A run that its
    command did not end, because it was killed itself, ends with the last record of the command.

    Args:
        config: The server and the folder of the journals.
    """
    found = []
    for path in sorted(Path(config.pending).glob("*.jsonl")):
        journal = Journal(path, config)
        try:
            journal._lock.acquire(blocking=False)
        except (Timeout, OSError):
            continue
        try:
            if journal._read():
                found.append(journal)
                continue
        except (OSError, ValueError, TypeError, KeyError) as error:
            log.warning("%s is no journal that can be sent to MLflow: %r", path, error)
        journal._lock.release()
    return found


def _records(path: Path) -> Iterator[dict[str, Any]]:
    """Records of a journal without the lines that a crash left incomplete."""
    with path.open() as file:
        for line in file:
            try:
                record = json.loads(line)
            except json.JSONDecodeError:
                continue
            if isinstance(record, dict):
                yield record
