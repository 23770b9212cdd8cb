"""MLflow records of a run: a parent run for the command, a child run per method.

Child runs carry identical keys, so that MLflow's own comparison puts the methods side by
side. Catalog entries opt in with `metadata: {mlflow: {log: artifact | metrics | audit}}`;
the data stays in ordinary files. A dead server costs a warning, never the training.
"""

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kedro.framework.context import KedroContext
from kedro.framework.hooks import hook_impl
from kedro.pipeline.node import Node
from pydantic import BaseModel, Field

from miram.configuration import Config
from miram.models.names import METHODS
from miram.provenance import git_commit

log = logging.getLogger(__name__)

TELEMETRY = "miram.telemetry"
_LONGEST_PARAMETER = 500
# Without it the pages open on the views for language-model agents.
_MODEL_TRAINING = {"mlflow.experimentKind": "custom_model_development"}


class MlflowConfig(Config):
    """Where runs are recorded."""

    enabled: bool = True
    experiment: str = Field("miram", min_length=1)
    tracking_uri: str
    artifacts: str | None = Field(None, description="for a local store; a server has its own")


class MlflowHook:
    """Records parameters, figures, loss histories and files of every node's run."""

    def __init__(self) -> None:
        self.tracker: Tracker | None = None

    @hook_impl
    def after_context_created(self, context: KedroContext) -> None:
        """Read `mlflow.yml`."""
        config = MlflowConfig(**context.config_loader["mlflow"])
        self.config = resolve_paths(config, Path(context.project_path))
        self.tracker = None

    @hook_impl
    def before_pipeline_run(self, run_params: dict[str, Any], catalog: Any) -> None:
        """Start the parent run."""
        if self.config.enabled:
            self.tracker = Tracker(self.config, run_params, catalog)

    @hook_impl
    def before_node_run(self, node: Node, inputs: dict[str, Any]) -> None:
        """Send what the node tells to the run of its method."""
        if self.tracker:
            self.tracker.enter(_method_of(node), inputs)

    @hook_impl
    def after_dataset_saved(self, dataset_name: str, data: Any, node: Node) -> None:
        """Record what the catalog entry asks for."""
        if self.tracker:
            self.tracker.record(_method_of(node), dataset_name, data)

    @hook_impl
    def on_node_error(self, node: Node) -> None:
        """Mark the method's run as failed."""
        if self.tracker:
            self.tracker.end(_method_of(node), "FAILED")

    @hook_impl
    def after_pipeline_run(self) -> None:
        """End all runs."""
        self._close("FINISHED")

    @hook_impl
    def on_pipeline_error(self) -> None:
        """End all runs; the parent has failed."""
        self._close("FAILED")

    def _close(self, status: str) -> None:
        if self.tracker:
            self.tracker.finish(status)
            self.tracker = None


class Tracker(logging.Handler):
    """One command's runs on an MLflow server; silent after the first failure."""

    def __init__(self, config: MlflowConfig, run_params: dict[str, Any], catalog: Any) -> None:
        super().__init__()
        self.config, self.catalog = config, catalog
        self.kedro_run = str(run_params.get("run_id") or run_params.get("session_id"))
        self.alive = True
        self.client: Any = None
        self.runs: dict[str, str] = {}  # method, or "" for the parent -> run id
        self.ended: set[str] = set()
        self.threads: dict[int, str] = {}  # a thread runs one node at a time
        self._safely(lambda: self._start(run_params))
        logging.getLogger(TELEMETRY).addHandler(self)

    def _start(self, run_params: dict[str, Any]) -> None:
        from mlflow import MlflowClient

        _prepare_store(self.config)
        client = MlflowClient(tracking_uri=self.config.tracking_uri)
        experiment = client.get_experiment_by_name(self.config.experiment)
        self.experiment_id = (
            experiment.experiment_id
            if experiment
            else client.create_experiment(
                self.config.experiment, self.config.artifacts, tags=_MODEL_TRAINING
            )
        )
        self.client = client
        names = run_params.get("pipeline_names") or ["__default__"]
        self._create("", " + ".join(names))

    def _create(self, method: str, name: str) -> str:
        tags = {
            "mlflow.runName": name,
            "git_commit": git_commit(),
            "kedro_run": self.kedro_run,
            "method": method,
        }
        if method:
            tags["mlflow.parentRunId"] = self.runs[""]
        run = self.client.create_run(self.experiment_id, tags=tags)
        self.runs[method] = run.info.run_id
        return str(run.info.run_id)

    def enter(self, method: str, inputs: dict[str, Any]) -> None:
        """Begin a node: its method's run exists from now on and hears what the node tells."""
        self.threads[threading.get_ident()] = method
        self._safely(lambda: self._enter(method, inputs))

    def _enter(self, method: str, inputs: dict[str, Any]) -> None:
        run_id = self.runs.get(method) or self._create(method, method)
        parameters: dict[str, str] = {}
        for name, value in inputs.items():
            if name.startswith("params:"):
                # Without the namespace, so that the keys of all methods are the same.
                key = name.removeprefix("params:").removeprefix(f"{method}.")
                parameters |= flatten(key, value)
            elif name == "crops":
                self.client.set_tag(run_id, "data_digest", value.digest)
        known = self.client.get_run(run_id).data.params
        from mlflow.entities import Param

        new = [Param(key, text) for key, text in parameters.items() if key not in known]
        if new:
            self.client.log_batch(run_id, params=new)

    def emit(self, record: logging.LogRecord) -> None:
        """Record the figures of a training step as they come."""
        method = self.threads.get(threading.get_ident(), "")
        metrics: dict[str, float] = getattr(record, "metrics", {})
        self._safely(lambda: self._log_metrics(method, metrics, getattr(record, "step", 0)))

    def record(self, method: str, dataset_name: str, data: Any) -> None:
        """Record a saved dataset as its catalog entry asks."""
        dataset = self.catalog.get(dataset_name)
        wish = ((getattr(dataset, "metadata", None) or {}).get("mlflow") or {}).get("log")
        if wish == "artifact":
            path = str(saved_path(dataset))
            self._safely(lambda: self.client.log_artifact(self.runs[method], path))
        elif wish == "metrics":
            figures = flatten_figures(data)
            self._safely(lambda: self._log_metrics(method, figures, 0))
        elif wish == "audit":
            counts = {f"audit.{code}": float(n) for code, n in data["code"].value_counts().items()}
            path = str(saved_path(dataset))
            self._safely(lambda: self._log_metrics(method, counts, 0))
            self._safely(lambda: self.client.log_artifact(self.runs[method], path))

    def _log_metrics(self, method: str, metrics: dict[str, float], step: int) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        rows = [Metric(key, value, now, step) for key, value in metrics.items()]
        self.client.log_batch(self.runs[method], metrics=rows)

    def end(self, method: str, status: str) -> None:
        """End the run of a method, once."""
        if method in self.runs and method not in self.ended:
            self.ended.add(method)
            self._safely(lambda: self.client.set_terminated(self.runs[method], status))

    def finish(self, status: str) -> None:
        """End all runs, the parent last with its status."""
        logging.getLogger(TELEMETRY).removeHandler(self)
        for method in [*(name for name in self.runs if name), ""]:
            self.end(method, status if not method else "FINISHED")

    def _safely(self, action: Callable[[], object]) -> None:
        """Do something on the server, unless it failed before: one warning is enough."""
        if not self.alive:
            return
        try:
            action()
        except Exception as error:  # whatever the server does, the training goes on
            self.alive = False
            lines = str(error).splitlines() or [type(error).__name__]
            log.warning(
                "MLflow at %s does not answer (%s): this run is recorded in files only",
                self.config.tracking_uri,
                lines[0],
            )


def _method_of(node: Node) -> str:
    namespace = (node.namespace or "").split(".")[0]
    return namespace if namespace in METHODS else ""


def resolve_paths(config: MlflowConfig, project: Path) -> MlflowConfig:
    """Take relative paths of a local store from the project, not the working directory."""
    uri, artifacts = config.tracking_uri, config.artifacts
    if uri.startswith("sqlite:///"):
        uri = f"sqlite:///{project / uri.removeprefix('sqlite:///')}"
        artifacts = (project / artifacts).as_uri() if artifacts else None
    else:
        artifacts = None
    return config.model_copy(update={"tracking_uri": uri, "artifacts": artifacts})


def _prepare_store(config: MlflowConfig) -> None:
    for name in ("alembic", "mlflow.store.db.utils"):
        logging.getLogger(name).setLevel(logging.WARNING)
    if config.tracking_uri.startswith("sqlite:///"):
        Path(config.tracking_uri.removeprefix("sqlite:///")).parent.mkdir(
            parents=True, exist_ok=True
        )


def saved_path(dataset: Any) -> Path:
    """Where a dataset has just been saved."""
    if getattr(dataset, "_version", None):
        return Path(str(dataset._get_versioned_path(dataset.resolve_save_version())))
    return Path(str(dataset._filepath))


def flatten(key: str, value: Any) -> dict[str, str]:
    """Turn nested values into single parameters, such as `training.optimizer.base_lr`.

    Args:
        key: Name of the value.
        value: A pydantic model, a dictionary, a list or a single value.
    """
    if isinstance(value, BaseModel):
        value = value.model_dump(mode="json")
    if isinstance(value, dict):
        items = [(str(name), item) for name, item in value.items()]
    elif isinstance(value, list | tuple) and any(isinstance(item, dict) for item in value):
        items = [(str(place), item) for place, item in enumerate(value)]
    else:
        return {key: str(value)[:_LONGEST_PARAMETER]}
    flat: dict[str, str] = {}
    for name, item in items:
        flat |= flatten(f"{key}.{name}", item)
    return flat


def flatten_figures(metrics: dict[str, Any]) -> dict[str, float]:
    """Turn figures with intervals into single metrics: `pathology.auc`, `.auc.lower`, `.upper`.

    Args:
        metrics: Figures of `miram.evaluation.assessment.assess_features`.
    """
    flat: dict[str, float] = {}
    for task, found in metrics["tasks"].items():
        flat[f"{task}.lesions"] = found["lesions"]
        flat[f"{task}.patients"] = found["patients"]
        for name, values in found["figures"].items():
            flat[f"{task}.{name}"] = values["estimate"]
            flat[f"{task}.{name}.lower"] = values["lower"]
            flat[f"{task}.{name}.upper"] = values["upper"]
    return {name: float(value) for name, value in flat.items()}
