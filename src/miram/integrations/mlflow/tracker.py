"""What one command tells MLflow: a parent run for the command, a child run for each method.

Nothing here waits for the server; `miram.integrations.mlflow.sender` brings the records there.
"""

import atexit
import logging
import threading
import uuid
from pathlib import Path
from typing import Any

from miram.integrations.mlflow.config import MlflowConfig
from miram.integrations.mlflow.operations import Kind, Operation, Status
from miram.integrations.mlflow.sender import Sender
from miram.integrations.mlflow.values import flatten, flatten_metrics
from miram.provenance import git_commit
from miram.training.checkpointing.folder import TrainingFolder

log = logging.getLogger(__name__)

TELEMETRY = "miram_telemetry"
# The inputs by which a node's training can be taken up again.
_FOLDERS = ("training_folder", "finetuning_folder")


class Tracker(logging.Handler):
    """One command's runs, from its beginning to `finish`.

    Args:
        config: Where runs are recorded.
        run_params: What Kedro tells of the command.
        catalog: Its catalog; entries say what of them is recorded.
    """

    def __init__(self, config: MlflowConfig, run_params: dict[str, Any], catalog: Any) -> None:
        super().__init__()
        self.catalog = catalog
        self.kedro_run = str(run_params.get("run_id") or run_params.get("session_id"))
        self.runs: dict[str, str] = {}  # method, or "" for the parent -> name of its run
        self.ended: set[str] = set()
        self.threads: dict[int, str] = {}  # a thread runs one node at a time
        self.working: dict[int, TrainingFolder | None] = {}  # threads that are within a node
        self.guard = threading.RLock()
        self.sender = Sender(config)
        self._open("", " + ".join(run_params.get("pipeline_names") or ["__default__"]))
        logging.getLogger(TELEMETRY).addHandler(self)
        # Kedro tells no hook of Ctrl-C.
        atexit.register(self.finish, "KILLED")

    def enter(self, method: str, inputs: dict[str, Any]) -> None:
        """Begin a node: its method's run exists from now on and hears what the node tells.

        Args:
            method: Whose node; empty for a shared one.
            inputs: Of the node. A training folder that holds an unfinished training brings
                its run back.
        """
        thread = threading.get_ident()
        folder: TrainingFolder | None = None
        parameters: dict[str, str] = {}
        digest = ""
        for name, value in inputs.items():
            # Without the namespace, so that the keys of all methods are the same.
            key = name.removeprefix("params:").removeprefix(f"{method}.")
            if name.startswith("params:"):
                parameters |= flatten(key, value)
            elif name == "crops":
                digest = value.digest
            elif key in _FOLDERS:
                folder = value
        afresh = parameters.get("training.resume") == "False"
        with self.guard:
            if method not in self.runs:
                resumed = folder if folder and is_unfinished(folder) and not afresh else None
                self._open(method, method, resumed)
        self.threads[thread], self.working[thread] = method, folder
        if folder:
            self._tell("note", method, {"path": _note(folder)})
        if digest:
            self._tell("tags", method, {"data_digest": digest})
        if parameters:
            self._tell("params", method, parameters)

    def _open(self, method: str, name: str, resumed: TrainingFolder | None = None) -> None:
        tags = {
            "mlflow.runName": name,
            "git_commit": git_commit(),
            "kedro_run": self.kedro_run,
            "method": method,
        }
        note = _note(resumed) if resumed else None
        parent = self.runs.get("")
        self.runs[method] = uuid.uuid4().hex
        self._tell("open", method, {"tags": tags, "parent": parent, "resume": note})

    def leave(self, succeeded: bool) -> None:
        """End a node; what it saves is still recorded.

        Args:
            succeeded: If not, its training may be taken up again in the same run.
        """
        thread = threading.get_ident()
        folder = self.working.pop(thread, None)
        if folder and succeeded:
            self._tell("forget", self.threads[thread], {"path": _note(folder)})

    def emit(self, record: logging.LogRecord) -> None:
        """Record the metrics and pictures of a training step as they come."""
        method = self.threads.get(threading.get_ident(), "")
        step = getattr(record, "step", 0)
        try:
            if metrics := getattr(record, "metrics", {}):
                self._metrics(method, metrics, step)
            for name, picture in getattr(record, "pictures", {}).items():
                self.sender.add_picture(self.runs[method], name, step, picture)
        except Exception as error:  # the training goes on
            log.warning("step %d is not recorded in MLflow: %s", step, error)

    def record(self, method: str, dataset_name: str, data: Any) -> None:
        """Record a saved dataset as its catalog entry asks."""
        dataset = self.catalog.get(dataset_name)
        wish = ((getattr(dataset, "metadata", None) or {}).get("mlflow") or {}).get("log")
        if wish == "metrics":
            self._metrics(method, flatten_metrics(data))
        if wish == "evaluation":
            self._metrics(method, flatten_metrics(data.metrics))
            for path in dataset.artifacts:
                self._tell("artifact", method, {"path": str(path.absolute())})
        if wish == "audit":
            counts = data["code"].value_counts().items()
            self._metrics(method, {f"audit.{code}": count for code, count in counts})
        if wish in ("artifact", "audit"):
            self._tell("artifact", method, {"path": str(saved_path(dataset).absolute())})

    def _metrics(self, method: str, metrics: dict[str, float], step: int = 0) -> None:
        plain = {name: float(value) for name, value in metrics.items()}
        self._tell("metrics", method, {"step": step, "metrics": plain})

    def end(self, method: str, status: Status) -> None:
        """End the run of a method, once."""
        with self.guard:
            if method not in self.runs or method in self.ended:
                return
            self.ended.add(method)
        self._tell("end", method, {"status": status})

    def finish(self, status: Status) -> None:
        """End all runs, the parent last, and send what waits.

        Args:
            status: Of the command, and of methods that were in the middle of a node.
        """
        atexit.unregister(self.finish)
        logging.getLogger(TELEMETRY).removeHandler(self)
        if "" in self.ended:
            return
        unfinished = {self.threads[thread] for thread in self.working}
        for method in self.runs:
            if method:
                self.end(method, status if method in unfinished else "FINISHED")
        self.end("", status)
        self.sender.close()

    def _tell(self, kind: Kind, method: str, values: dict[str, Any]) -> None:
        self.sender.add(Operation(kind, self.runs[method], values))


def is_unfinished(folder: TrainingFolder) -> bool:
    """Whether a folder holds a part of a training, such as the first of its folds or seeds.

    If all are there, the note that names their run is not.
    """
    parts = [TrainingFolder(path.parent) for path in folder.path.rglob("*.pt")]
    parts = [part for part in parts if part.path != folder.path]
    return folder.unfinished or any(part.unfinished or part.finished.exists() for part in parts)


def _note(folder: TrainingFolder) -> str:
    return str(folder.tracker_note.absolute())


def saved_path(dataset: Any) -> Path:
    """Where a dataset has just been saved."""
    if getattr(dataset, "_version", None):
        return Path(str(dataset._get_versioned_path(dataset.resolve_save_version())))
    return Path(str(dataset._filepath))
