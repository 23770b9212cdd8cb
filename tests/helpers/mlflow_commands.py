"""MLflow stores, nodes, and what a store has recorded."""

from kedro.pipeline import Node
from mlflow import MlflowClient

from miram.serving.registry.tracking import MlflowConfig

METRIC = {"estimate": 0.6, "lower": 0.5, "upper": 0.7, "undefined_draws": 0}
METRICS = {"tasks": {"pathology": {"lesions": 9, "patients": 4, "metrics": {"auc": METRIC}}}}


def make_config(uri, folder, **changes):
    artifacts = (folder / "artifacts").as_uri()
    unfinished = str(folder / "unfinished")
    return MlflowConfig(tracking_uri=uri, artifacts=artifacts, unfinished=unfinished, **changes)


def node(method, function, inputs=None, outputs=None):
    """A node of a method, as `--namespaces` makes them."""
    outputs = outputs or f"{method}.out"
    name = outputs.removeprefix(f"{method}.")
    return Node(function, inputs, outputs, name=name, namespace=method or None)


class Recorded:
    """What a store has: `commands` and the runs of methods in their order."""

    def __init__(self, config):
        self.client = MlflowClient(config.tracking_uri)
        experiment = self.client.get_experiment_by_name(config.experiment)
        runs = self.client.search_runs(experiment.experiment_id, order_by=["start_time"])
        self.commands = [run for run in runs if not run.data.tags["method"]]
        self.runs = [run for run in runs if run.data.tags["method"]]
        self.by_method = {run.data.tags["method"]: run for run in self.runs}

    def statuses(self):
        return [run.info.status for run in (*self.commands, *self.runs)]

    def points(self, run, key="loss"):
        rows = self.client.get_metric_history(run.info.run_id, key)
        return sorted((row.step, row.value) for row in rows)

    def files(self, run, folder=None):
        return [item.path for item in self.client.list_artifacts(run.info.run_id, folder)]
