"""MLflow records of a run: a parent run for the command, a child run per method.

Child runs carry identical keys, so that MLflow's own comparison puts the methods side by
side. Catalog entries opt in with `metadata: {mlflow: {log: artifact | metrics | audit}}`;
the data stays in ordinary files. A dead server costs a warning, never the training, and is
told everything when it is back. An interrupted training goes on in the run it had.
"""

from pathlib import Path
from typing import Any

from kedro.framework.context import KedroContext
from kedro.framework.hooks import hook_impl
from kedro.pipeline.node import Node

from miram.integrations.mlflow.config import MlflowConfig, resolve_paths
from miram.integrations.mlflow.operations import Status
from miram.integrations.mlflow.tracker import Tracker
from miram.models.methods import BASELINES, METHODS

__all__ = ["MlflowConfig", "MlflowHook", "resolve_paths"]

# By name: commands that do not train need not import `miram.training`.
_INTERRUPTIONS = {"TrainingInterrupted", "KeyboardInterrupt"}


class MlflowHook:
    """Records parameters, metrics, loss histories, pictures and files of every node's run."""

    def __init__(self) -> None:
        self.tracker: Tracker | None = None

    @hook_impl
    def after_context_created(self, context: KedroContext) -> None:
        """Read `mlflow.yml`."""
        config = MlflowConfig.model_validate(context.config_loader["mlflow"])
        self.config = resolve_paths(config, Path(context.project_path))

    @hook_impl
    def before_pipeline_run(self, run_params: dict[str, Any], catalog: Any) -> None:
        """Start the parent run."""
        self._close("KILLED")  # one that Ctrl-C ended in a notebook
        if self.config.enabled:
            self.tracker = Tracker(self.config, run_params, catalog)

    @hook_impl
    def before_node_run(self, node: Node, inputs: dict[str, Any]) -> None:
        """Send what the node tells to the run of its method."""
        if self.tracker:
            self.tracker.enter(_method_of(node), inputs)

    @hook_impl
    def after_node_run(self) -> None:
        """Know that the method is not in the middle of a node."""
        if self.tracker:
            self.tracker.leave(succeeded=True)

    @hook_impl
    def after_dataset_saved(self, dataset_name: str, data: Any, node: Node) -> None:
        """Record what the catalog entry asks for."""
        if self.tracker:
            self.tracker.record(_method_of(node), dataset_name, data)

    @hook_impl
    def on_node_error(self, error: BaseException, node: Node) -> None:
        """End the method's run, as failed or as interrupted."""
        if self.tracker:
            self.tracker.leave(succeeded=False)
            if method := _method_of(node):  # the command's own run ends with the command
                self.tracker.end(method, status_after(error))

    @hook_impl
    def after_pipeline_run(self) -> None:
        """End all runs."""
        self._close("FINISHED")

    @hook_impl
    def on_pipeline_error(self, error: BaseException) -> None:
        """End all runs; the parent has failed or was interrupted."""
        self._close(status_after(error))

    def _close(self, status: Status) -> None:
        if self.tracker:
            self.tracker.finish(status)
            self.tracker = None


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


def _method_of(node: Node) -> str:
    namespace = (node.namespace or "").split(".")[0]
    return namespace if namespace in (*METHODS, *BASELINES) else ""
