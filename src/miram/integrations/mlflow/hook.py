"""MLflow records of a command: a parent run, and a child run for each method.

Child runs have identical keys, so that MLflow compares the methods. Catalog entries opt in with
`metadata: {mlflow: {log: artifact | audit | evaluation | history, prefix: …}}`; the data stays in
ordinary files.
"""

import atexit
import inspect
import json
import logging
import threading
from pathlib import Path
from typing import Any

from kedro.framework.context import KedroContext
from kedro.framework.hooks import hook_impl
from kedro.io import DatasetError
from kedro.pipeline import Pipeline
from kedro.pipeline.node import Node

from miram.configuration import flatten
from miram.errors import MiramError, causes
from miram.integrations.mlflow.store import TRAINING, Run, Status, Store
from miram.models.methods import BASELINES, METHODS
from miram.provenance import command_line, git_commit
from miram.serving.registry.tracking import MlflowConfig, now
from miram.training.checkpointing.interruption import TrainingInterrupted
from miram.training.logging.telemetry import LOGGER

# Inputs by which a training is resumed, and what stands before the names of its metrics.
_FOLDERS = {"training_folder": "", "finetuning_folder": "finetuned/"}


class MlflowHook(logging.Handler):
    """Records the parameters, metrics, loss histories, pictures and files of every node.

    Kedro reports no failure of a load or save. A node that has begun and has not saved everything
    when the command ends has failed.
    """

    config: MlflowConfig
    store: Store | None = None  # of the command that runs now

    @property
    def run_id(self) -> str:
        """Id of the command's run; empty where there is none."""
        return self.store.runs[""].run_id if self.store else ""

    @hook_impl
    def after_context_created(self, context: KedroContext) -> None:
        """Read `mlflow.yml`."""
        config = MlflowConfig.model_validate(context.config_loader["mlflow"])
        self.config = config.within(Path(context.project_path))

    @hook_impl(trylast=True)  # what other hooks refuse leaves no run
    def before_pipeline_run(
        self, run_params: dict[str, Any], pipeline: Pipeline, catalog: Any
    ) -> None:
        """Start the run of the command."""
        self.finish("KILLED")  # one that Ctrl-C ended in a notebook
        if not self.config.enabled:
            return
        self.catalog = catalog
        self.command = str(run_params.get("run_id") or run_params.get("session_id"))
        self.source = catalog.load("params:source") if catalog.exists("params:source") else ""
        self.to_save = {node.name: set(node.outputs) for node in pipeline.nodes}
        self.left: dict[str, set[str]] = {}  # nodes of each method that have not finished
        for node in pipeline.nodes:
            self.left.setdefault(_method_of(node), set()).add(node.name)
        self.begun: dict[str, str] = {}  # nodes that have not finished, and their methods
        self.within: dict[int, Node] = {}  # by thread
        self.guard = threading.RLock()
        self.store = Store(self.config, self.command)
        self._new_run(self.store, "", _name(run_params, self.source, self.left))
        self.store.update()
        LOGGER.addHandler(self)
        atexit.register(self.finish, "KILLED")  # Kedro calls no hook after Ctrl-C

    @hook_impl
    def before_dataset_loaded(self, node: Node) -> None:
        """Note that a node begins."""
        if not self.store:
            return
        with self.guard:
            before = self.within.get(threading.get_ident())
            if before and before is not node and _streams(before):
                self._leave(self.store, before)
            self.within[threading.get_ident()] = node
            self.begun[node.name] = _method_of(node)

    @hook_impl
    def before_node_run(self, node: Node, inputs: dict[str, Any]) -> None:
        """Open the run of a method with its first node; record the node's parameters."""
        if not self.store:
            return
        self.before_dataset_loaded(node)  # a node may have no inputs
        method = _method_of(node)
        with self.guard:
            new = method not in self.store.runs
            run = self._new_run(self.store, method, method) if new else self.store.runs[method]
            for name, value in inputs.items():
                # Without the namespace, so that all methods have the same keys.
                key = name.removeprefix("params:").removeprefix(f"{method}.")
                if name == "params:sources":  # they name files and columns of raw data
                    continue
                if name.startswith("params:"):
                    params = {key: str(text) for key, text in flatten(value, key).items()}
                    run.params = params | run.params
                elif key in _FOLDERS:
                    run.tags[TRAINING] = str(value.path.absolute())
                    # There may be the first of its folds or seeds.
                    run.resumes |= new and (value.unfinished or any(value.path.glob("*/**/*.pt")))
            run.resumes &= run.params.get("training.resume") != "False"
            run.complete = False
            self.store.update(retry=new)

    def emit(self, record: logging.LogRecord) -> None:
        """Record the metrics and pictures of a training step as they come."""
        if not self.store:
            return
        with self.guard:
            node = self.within.get(threading.get_ident())
            name = getattr(record, "run", "") or (_method_of(node) if node else "")
            if name not in self.store.runs:  # something that is compared within a node
                self._new_run(self.store, name, name)
                self.store.update()
            run = self.store.runs[name]
            prefix = _prefix_of(node) if node else ""
            metrics, pictures = (
                {f"{prefix}{name}": value for name, value in getattr(record, kind, {}).items()}
                for kind in ("metrics", "pictures")
            )
            self.store.log_step(run, getattr(record, "step", 0), metrics, pictures)

    @hook_impl
    def after_dataset_saved(self, dataset_name: str, node: Node) -> None:
        """Record what the catalog entry asks for."""
        if not self.store:
            return
        with self.guard:
            run, to_save = self.store.runs[_method_of(node)], self.to_save[node.name]
            dataset = self.catalog.get(dataset_name)
            if asked := (getattr(dataset, "metadata", None) or {}).get("mlflow"):
                run.saved.append(_to_log(dataset, asked))
                run.complete = False
            to_save.discard(dataset_name)
            if not to_save and not _streams(node):
                self._leave(self.store, node)
            if not run.complete:
                self.store.update()

    @hook_impl
    def after_pipeline_run(self) -> None:
        """End all runs."""
        self.finish("FINISHED")

    @hook_impl
    def on_pipeline_error(self, error: BaseException) -> None:
        """End all runs: the command, and methods within a node, failed or were interrupted."""
        self.finish(status_after(error))

    def finish(self, status: Status) -> None:
        """End all runs with the status of the command, but of methods within a node only."""
        if not self.store:
            return
        atexit.unregister(self.finish)
        LOGGER.removeHandler(self)
        with self.guard:
            for method, run in self.store.runs.items():
                failed = not method or method in self.begun.values()
                run.end(status if failed else "FINISHED", now())
            self.store.close()
            self.store = None

    def _leave(self, store: Store, node: Node) -> None:
        """A node has finished, and with its last node a method."""
        method = _method_of(node)
        self.begun.pop(node.name, None)
        self.left[method].discard(node.name)
        if method and not self.left[method]:
            store.runs[method].end("FINISHED", now())

    def _new_run(self, store: Store, method: str, name: str) -> Run:
        commit = git_commit()
        tags = {
            "mlflow.runName": name,
            "mlflow.source.name": command_line(),
            "mlflow.source.type": "LOCAL",
            "mlflow.source.git.commit": commit.removesuffix("-dirty"),
            "git_commit": commit,
            "kedro_run": self.command,
            "method": method,
        }
        run = store.runs[method] = Run(method, tags, now())
        if method and (dataset := self._crops()):
            run.dataset, tags["data_digest"] = dataset, dataset["digest"]
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


def status_after(error: BaseException) -> Status:
    """How a run ends: an interruption is no failure, nor is what it caused."""
    stops = (TrainingInterrupted, KeyboardInterrupt)
    return "KILLED" if any(isinstance(cause, stops) for cause in causes(error)) else "FAILED"


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


def _prefix_of(node: Node) -> str:
    return "".join(_FOLDERS.get(name.rpartition(".")[2], "") for name in node.inputs)


def _streams(node: Node) -> bool:
    """A generator saves every output many times, until the next node begins."""
    return inspect.isgeneratorfunction(node.func)


def _to_log(dataset: Any, asked: dict[str, str]) -> dict[str, Any]:
    """A saved dataset, with what its catalog entry asks for, as `Run.saved` has it."""
    path = dataset._filepath
    if getattr(dataset, "_version", None):
        path = dataset._get_versioned_path(dataset.resolve_save_version())
    files = [path]
    if asked["log"] == "evaluation":  # metrics are no artifact: their tables are
        files = getattr(dataset, "artifacts", [])
    elif asked["log"] == "audit":  # it names files
        files = []
    absolute = [str(Path(str(file)).absolute()) for file in (path, *files)]
    return {"prefix": "", **asked, "path": absolute[0], "artifacts": absolute[1:], "time": now()}
