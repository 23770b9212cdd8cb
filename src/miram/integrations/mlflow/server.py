"""What an MLflow server is asked for each kind of operation."""

import json
import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from miram.files import atomic_path
from miram.integrations.mlflow.config import MlflowConfig
from miram.integrations.mlflow.operations import Operation

log = logging.getLogger(__name__)

PARENT = "mlflow.parentRunId"
RECORD = "miram.record"  # tells whether a run was opened although the answer got lost

# Without it the pages open on the views for language-model agents.
_MODEL_TRAINING = {"mlflow.experimentKind": "custom_model_development"}
_TIMEOUT = "MLFLOW_HTTP_REQUEST_TIMEOUT"
# MLflow's own patience, 7 retries of 120 s, is that of a batch job without anything to train.
_PATIENCE = {_TIMEOUT: "10", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1"}
_MOST_PARAMETERS = 100  # that MLflow takes in one request
_REFUSALS = {
    "BAD_REQUEST",
    "INVALID_PARAMETER_VALUE",
    "INVALID_STATE",
    "RESOURCE_ALREADY_EXISTS",
    "RESOURCE_DOES_NOT_EXIST",
}


class Server:
    """An MLflow server, or a local store, that is asked and may fail in any way.

    Args:
        config: Where it is.
    """

    def __init__(self, config: MlflowConfig) -> None:
        from mlflow import MlflowClient

        for name, value in _PATIENCE.items():
            os.environ.setdefault(name, value)
        for name in ("alembic", "mlflow.store.db.utils"):
            logging.getLogger(name).setLevel(logging.WARNING)
        self.config = config
        self._make_client = MlflowClient
        self._client: Any = None
        self._experiment = ""
        # Of runs that were taken up again: by metric, the steps that they had before.
        self._had: dict[str, dict[str, set[int]]] = {}

    @property
    def client(self) -> Any:
        """The client; made when first needed, because a local store is opened by that."""
        if self._client is None:
            if self.config.database:
                self.config.database.parent.mkdir(parents=True, exist_ok=True)
            self._client = self._make_client(tracking_uri=self.config.tracking_uri)
        return self._client

    def answers(self) -> bool:
        """Whether the server does anything at all."""
        try:
            self.client.search_experiments(max_results=1)
        except Exception:  # no answer is an answer here
            return False
        return True

    def perform(self, request: Sequence[Operation], runs: Mapping[str, str]) -> dict[str, str]:
        """Tell the server.

        Args:
            request: Operations of one kind and run; several only if they are metrics.
            runs: The server's names of the runs.

        Returns:
            The server's name of a run that was opened.
        """
        first = request[0]
        if first.kind == "open":
            return {first.run: self._open(first, runs)}
        run_id = runs[first.run]
        if first.kind == "metrics":
            self._metrics(run_id, request)
        else:
            tell: dict[str, Callable[[str, Operation], None]] = {
                "note": self._note,
                "forget": self._forget,
                "params": self._params,
                "tags": self._tags,
                "artifact": self._artifact,
                "picture": self._picture,
                "end": self._end,
            }
            tell[first.kind](run_id, first)
        return {}

    def _open(self, operation: Operation, runs: Mapping[str, str]) -> str:
        values = operation.values
        tags = dict(values["tags"])
        if values["parent"] in runs:
            tags[PARENT] = runs[values["parent"]]
        note = values["resume"]
        former = self._noted(Path(note)) if note else None
        if former:
            self._resume(former, tags, operation.time)
            self._had[former.info.run_id] = {}
            return str(former.info.run_id)
        filters = f"tags.`{RECORD}` = '{operation.run}'"
        opened = self.client.search_runs([self.experiment], filters, max_results=1)
        if not opened:
            tags[RECORD] = operation.run
            opened = [self.client.create_run(self.experiment, operation.time, tags)]
        return str(opened[0].info.run_id)

    @property
    def experiment(self) -> str:
        """Id of the experiment; made where it does not exist."""
        if not self._experiment:
            found = self.client.get_experiment_by_name(self.config.experiment)
            self._experiment = (
                found.experiment_id
                if found
                else self.client.create_experiment(
                    self.config.experiment, self.config.artifacts, tags=_MODEL_TRAINING
                )
            )
        return self._experiment

    def _noted(self, path: Path) -> Any:
        """The run that a note names, if it is of this server and still there."""
        try:
            note = json.loads(path.read_text())
            here = note["tracking_uri"] == self.config.tracking_uri
            run = self._find(note["run_id"]) if here else None
        except (OSError, ValueError, TypeError, KeyError):
            return None  # no note, or not one of ours
        return run if run is not None and run.info.lifecycle_stage == "active" else None

    def _find(self, run_id: str) -> Any:
        try:
            return self.client.get_run(run_id)
        except Exception as error:
            if refused(error):
                return None
            raise

    def _resume(self, run: Any, tags: dict[str, str], time: int) -> None:
        former = run.data.tags.get(PARENT)
        if former == tags.get(PARENT):
            return  # done before, and the answer got lost
        parent = self._find(former) if former else None
        if parent is not None and parent.info.status == "RUNNING":
            self.client.set_terminated(former, "KILLED", time)
        self.client.update_run(run.info.run_id, "RUNNING")
        tags["resumed"] = str(int(run.data.tags.get("resumed", "0")) + 1)
        self._set_tags(run.info.run_id, tags)

    def _note(self, run_id: str, operation: Operation) -> None:
        note = {"tracking_uri": self.config.tracking_uri, "run_id": run_id}
        try:
            with atomic_path(operation.values["path"]) as path:
                path.write_text(json.dumps(note))
        except OSError as error:
            log.warning("if this training is interrupted, it goes on in a new run: %s", error)

    def _forget(self, run_id: str, operation: Operation) -> None:
        Path(operation.values["path"]).unlink(missing_ok=True)
        self._had.pop(run_id, None)  # what follows is no part of the training that was resumed

    def _params(self, run_id: str, operation: Operation) -> None:
        from mlflow.entities import Param

        # A parameter keeps its first value; the nodes of a method share some.
        known = self.client.get_run(run_id).data.params
        new = [Param(key, text) for key, text in operation.values.items() if key not in known]
        for start in range(0, len(new), _MOST_PARAMETERS):
            some = new[start : start + _MOST_PARAMETERS]
            self.client.log_batch(run_id, params=some, synchronous=True)

    def _tags(self, run_id: str, operation: Operation) -> None:
        self._set_tags(run_id, operation.values)

    def _set_tags(self, run_id: str, tags: dict[str, str]) -> None:
        from mlflow.entities import RunTag

        rows = [RunTag(key, text) for key, text in tags.items()]
        self.client.log_batch(run_id, tags=rows, synchronous=True)

    def _metrics(self, run_id: str, request: Sequence[Operation]) -> None:
        from mlflow.entities import Metric

        rows = [
            Metric(key, value, operation.time, operation.values["step"])
            for operation in request
            for key, value in operation.values["metrics"].items()
            if not self._has(run_id, key, operation.values["step"])
        ]
        if rows:
            self.client.log_batch(run_id, metrics=rows, synchronous=True)

    def _has(self, run_id: str, key: str, step: int) -> bool:
        """Whether a run that was taken up again had this step, which was lost and taken again."""
        if run_id not in self._had or step == 0:  # metrics without a step may change
            return False
        had = self._had[run_id]
        if key not in had:
            rows = self.client.get_metric_history(run_id, key)
            steps = [row.step for row in sorted(rows, key=lambda row: (row.timestamp, row.step))]
            # Another training may have told the same metric before in this run.
            before = [place for place, one in enumerate(steps) if one < step]
            had[key] = set(steps[before[-1] + 1 :] if before else steps)
        return step in had[key]

    def _artifact(self, run_id: str, operation: Operation) -> None:
        path = Path(operation.values["path"])
        with _time_for(path):
            self.client.log_artifact(run_id, str(path))

    def _picture(self, run_id: str, operation: Operation) -> None:
        from PIL import Image

        values = operation.values
        with Image.open(values["path"]) as picture:
            self.client.log_image(
                run_id,
                picture,
                key=values["name"],
                step=values["step"],
                timestamp=operation.time,
                synchronous=True,
            )

    def _end(self, run_id: str, operation: Operation) -> None:
        self.client.set_terminated(run_id, operation.values["status"], operation.time)


def refused(error: Exception) -> bool:
    """Whether the server, or a missing file, says no to this one operation for good."""
    from mlflow.exceptions import MlflowException

    if isinstance(error, MlflowException):
        return error.error_code in _REFUSALS
    return isinstance(error, FileNotFoundError)


@contextmanager
def _time_for(path: Path) -> Iterator[None]:
    """Wait for a server that stores a large file: a second more for each megabyte."""
    usual = _PATIENCE[_TIMEOUT]
    if os.environ.get(_TIMEOUT) != usual:  # the user's own
        yield
        return
    os.environ[_TIMEOUT] = str(int(usual) + path.stat().st_size // 1_000_000)
    try:
        yield
    finally:
        os.environ[_TIMEOUT] = usual
