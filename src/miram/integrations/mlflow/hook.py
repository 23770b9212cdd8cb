"""MLflow records of a command: a parent run, and a child run for each method.

Child runs have identical keys, so that MLflow compares the methods. Catalog entries opt in with
`metadata: {mlflow: {log: artifact | audit | evaluation | history, prefix: …}}`; the data stays in
ordinary files.
"""

import atexit
import inspect
import json
import logging
import shlex
import sys
import threading
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kedro.framework.context import KedroContext
from kedro.framework.hooks import hook_impl
from kedro.io import DatasetError
from kedro.pipeline import Pipeline
from kedro.pipeline.node import Node

from miram.configuration import flatten
from miram.errors import MiramError
from miram.integrations.mlflow.store import (
    TRAINING,
    Run,
    Status,
    Store,
    lock_of,
    log_earlier_commands,
    now,
    remove_note,
    write_note,
)
from miram.models.methods import BASELINES, METHODS
from miram.provenance import git_commit
from miram.serving.registry.tracking import MlflowConfig

if TYPE_CHECKING:
    from miram.training.checkpointing.folder import TrainingFolder

log = logging.getLogger(__name__)

TELEMETRY = "miram_telemetry"
# Inputs by which a training is resumed, and what stands before the names of its metrics.
_FOLDERS = {"training_folder": "", "finetuning_folder": "finetuned/"}
# By name: commands that do not train need not import `miram.training`.
_INTERRUPTIONS = {"TrainingInterrupted", "KeyboardInterrupt"}


class MlflowHook:
    """Records the parameters, metrics, loss histories, pictures and files of every node."""

    config: MlflowConfig
    tracker: "Tracker | None" = None

    @property
    def run_id(self) -> str:
        """Id of the command's run; empty where there is none."""
        return self.tracker.runs[""].run_id if self.tracker else ""

    @hook_impl
    def after_context_created(self, context: KedroContext) -> None:
        """Read `mlflow.yml`."""
        config = MlflowConfig.model_validate(context.config_loader["mlflow"])
        self.config = config.within(Path(context.project_path))

    @hook_impl(trylast=True)  # what other hooks refuse leaves no run
    def before_pipeline_run(
        self, run_params: dict[str, Any], pipeline: Pipeline, catalog: Any
    ) -> None:
        """Start the parent run."""
        self._finish("KILLED")  # one that Ctrl-C ended in a notebook
        if self.config.enabled:
            self.tracker = Tracker(self.config, run_params, pipeline, catalog)

    @hook_impl
    def before_node_run(self, node: Node, inputs: dict[str, Any]) -> None:
        """Open the run of the node's method."""
        if self.tracker:
            self.tracker.begin(node, inputs)

    @hook_impl
    def after_dataset_saved(self, dataset_name: str, node: Node) -> None:
        """Record what the catalog entry asks for."""
        if self.tracker:
            self.tracker.log_saved(node, dataset_name)

    @hook_impl
    def after_pipeline_run(self) -> None:
        """End all runs."""
        self._finish("FINISHED")

    @hook_impl
    def on_pipeline_error(self, error: BaseException) -> None:
        """End all runs: the command, and methods within a node, failed or were interrupted."""
        self._finish(status_after(error))

    def _finish(self, status: Status) -> None:
        if self.tracker:
            self.tracker.finish(status)
            self.tracker = None


@dataclass
class _Work:
    """A node that a thread is in, with what it has still to save."""

    node: Node
    run: Run
    prefix: str
    to_save: set[str]

    @property
    def streams(self) -> bool:
        """A generator saves every output many times, until the next node begins."""
        return inspect.isgeneratorfunction(self.node.func)


class Tracker(logging.Handler):
    """The runs of one command, from its beginning to `finish`.

    Kedro reports no failure of a save. A node that has not saved everything when its thread, or
    the command, ends or moves on has failed.

    Args:
        config: Where runs are recorded.
        run_params: What Kedro knows of the command.
        pipeline: The nodes to run.
        catalog: Its catalog; entries say what of them is recorded.
    """

    def __init__(
        self, config: MlflowConfig, run_params: dict[str, Any], pipeline: Pipeline, catalog: Any
    ) -> None:
        super().__init__()
        self.catalog = catalog
        self.command = str(run_params.get("run_id") or run_params.get("session_id"))
        self.runs: dict[str, Run] = {}  # by method, "" for the command
        self.work: dict[int, _Work] = {}  # by thread
        self.left: dict[str, set[str]] = {}  # nodes of each method that have not finished
        self.guard = threading.RLock()
        self.store = Store(config)
        log_earlier_commands(self.store)
        self.note = Path(config.unfinished) / f"{self.command}.json"
        self.note_lock = lock_of(self.note)
        with suppress(OSError):
            self.note.parent.mkdir(parents=True, exist_ok=True)
            self.note_lock.acquire()
        for node in pipeline.nodes:
            self.left.setdefault(_method_of(node), set()).add(node.name)
        self.source = catalog.load("params:source") if catalog.exists("params:source") else ""
        self._log_begin(self._new_run("", _name(run_params, self.source, self.left)))
        logging.getLogger(TELEMETRY).addHandler(self)
        atexit.register(self.finish, "KILLED")  # Kedro calls no hook after Ctrl-C

    def begin(self, node: Node, inputs: dict[str, Any]) -> None:
        """Open the run of a method with its first node; record the node's parameters.

        Args:
            node: The node.
            inputs: Its inputs. The folder of an unfinished training resumes its run.
        """
        thread, method = threading.get_ident(), _method_of(node)
        if before := self.work.pop(thread, None):
            self._leave(before, "FINISHED" if before.streams else "FAILED")
        params: dict[str, str] = {}
        folder: TrainingFolder | None = None
        prefix = ""
        for name, value in inputs.items():
            # Without the namespace, so that all methods have the same keys.
            key = name.removeprefix("params:").removeprefix(f"{method}.")
            if name.startswith("params:"):
                params |= {key: str(text) for key, text in flatten(value, key).items()}
            elif key in _FOLDERS:
                folder, prefix = value, _FOLDERS[key]
        with self.guard:
            new = method not in self.runs
            run = self._new_run(method, method) if new else self.runs[method]
            run.params = params | run.params
            if folder:
                run.tags[TRAINING] = str(folder.path.absolute())
                afresh = params.get("training.resume") == "False"
                run.resumes |= new and not afresh and is_unfinished(folder)
            if new:
                self.store.retry()
            self._log_begin(run)
        self.work[thread] = _Work(node, run, prefix, set(node.outputs))

    def emit(self, record: logging.LogRecord) -> None:
        """Record the metrics and pictures of a training step as they come."""
        work = self.work.get(threading.get_ident())
        run, prefix = (work.run, work.prefix) if work else (self.runs[""], "")
        found = [
            {f"{prefix}{name}": value for name, value in getattr(record, kind, {}).items()}
            for kind in ("metrics", "pictures")
        ]
        self.store.attempt(run, self.store.log_step, getattr(record, "step", 0), *found)

    def log_saved(self, node: Node, dataset_name: str) -> None:
        """Record a saved dataset as its catalog entry asks."""
        dataset, work = self.catalog.get(dataset_name), self.work[threading.get_ident()]
        if asked := (getattr(dataset, "metadata", None) or {}).get("mlflow"):
            path = str(_saved_path(dataset))
            # Metrics are no artifact: their tables are.
            artifacts = [str(table.absolute()) for table in getattr(dataset, "artifacts", ())]
            saved = {"prefix": "", **asked, "path": path, "time": now()}
            saved["artifacts"] = artifacts if asked["log"] == "evaluation" else [path]
            work.run.saved.append(saved)
            self.store.attempt(work.run, self.store.log_saved, saved)
            write_note(self.note, self.store, list(self.runs.values()))
        work.to_save.discard(dataset_name)
        if not work.to_save and not work.streams:
            self._leave(self.work.pop(threading.get_ident()), "FINISHED")

    def finish(self, status: Status) -> None:
        """End all runs, and log again what MLflow missed.

        Args:
            status: Of the command, and of methods that are within a node.
        """
        atexit.unregister(self.finish)
        logging.getLogger(TELEMETRY).removeHandler(self)
        runs = list(self.runs.values())
        if runs[0].status != "RUNNING":
            return
        for work in self.work.values():
            self._leave(work, status)
        for run in reversed(runs):
            self._end(run, "FINISHED" if run.method else status)
        if all(run.complete for run in runs) or self.store.log_again(runs):
            remove_note(self.note)
        else:
            write_note(self.note, self.store, runs)
            log.info("MLflow misses a part of this command: the next one logs it")
        self.note_lock.release()

    def _new_run(self, method: str, name: str) -> Run:
        commit = git_commit()
        tags = {
            "mlflow.runName": name,
            "mlflow.source.name": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
            "mlflow.source.type": "LOCAL",
            "mlflow.source.git.commit": commit.removesuffix("-dirty"),
            "git_commit": commit,
            "kedro_run": self.command,
            "method": method,
        }
        run = self.runs[method] = Run(method, tags, now())
        if method:
            run.dataset = self._crops()
            tags |= {"data_digest": run.dataset["digest"]} if run.dataset else {}
        return run

    def _crops(self) -> dict[str, str]:
        """The crop store as an MLflow dataset; empty before it is made."""
        try:
            if not self.catalog.exists("crops"):
                return {}
            crops = self.catalog.load("crops")
        except (MiramError, DatasetError, OSError):  # the nodes that read it say so
            return {}
        return {
            "name": f"{self.source} crops".strip(),
            "digest": crops.digest,
            "source_type": "local",
            "source": json.dumps({"uri": str(crops.folder.absolute())}),
            "profile": json.dumps({"num_rows": len(crops.crops), "num_elements": crops.crops.size}),
        }

    def _log_begin(self, run: Run) -> None:
        self.store.attempt(run, self.store.begin, self.runs[""] if run.method else None)
        write_note(self.note, self.store, list(self.runs.values()))

    def _leave(self, work: _Work, status: Status) -> None:
        """A node has ended; so has its method, if it failed or was the last one."""
        left = self.left[work.run.method]
        left.discard(work.node.name)
        if work.run.method and (status != "FINISHED" or not left):
            self._end(work.run, status)

    def _end(self, run: Run, status: Status) -> None:
        if run.status == "RUNNING":
            run.status, run.ended = status, now()
            self.store.attempt(run, self.store.end)


def running_hook() -> MlflowHook:
    """The hook of the `kedro run` at hand.

    Raises:
        MiramError: The project has no such hook, or no context was made yet.
    """
    from kedro.framework.project import settings

    for hook in settings.HOOKS:
        if isinstance(hook, MlflowHook) and hasattr(hook, "config"):
            return hook
    raise MiramError("the registry is that of mlflow.yml: run this in the project, by kedro run")


def is_unfinished(folder: "TrainingFolder") -> bool:
    """Whether a folder holds a part of a training, such as the first of its folds or seeds."""
    return folder.unfinished or any(folder.path.glob("*/**/*.pt"))


def status_after(error: BaseException) -> Status:
    """How a run ends: an interruption is no failure.

    Args:
        error: What ended it, with what caused it.
    """
    seen: BaseException | None = error
    while seen is not None:
        if _INTERRUPTIONS & {kind.__name__ for kind in type(seen).__mro__}:
            return "KILLED"
        seen = seen.__cause__ or seen.__context__
    return "FAILED"


def _name(run_params: dict[str, Any], source: str, nodes: dict[str, set[str]]) -> str:
    """Name of a command's run: pipeline, data and methods, as `pretrain cbis_ddsm, 3 methods`."""
    methods = [method for method in METHODS if method in nodes]
    name = f"{' + '.join(run_params.get('pipeline_names') or ['study'])} {source}".strip()
    if not methods:
        return name
    return f"{name}, {methods[0] if len(methods) == 1 else f'{len(methods)} methods'}"


def _method_of(node: Node) -> str:
    namespace = (node.namespace or "").split(".")[0]
    return namespace if namespace in (*METHODS, *BASELINES) else ""


def _saved_path(dataset: Any) -> Path:
    if getattr(dataset, "_version", None):
        path = str(dataset._get_versioned_path(dataset.resolve_save_version()))
        return Path(path).absolute()
    return Path(str(dataset._filepath)).absolute()
