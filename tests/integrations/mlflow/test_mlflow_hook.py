import json
import logging
import shutil
import threading
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from kedro.framework.hooks.manager import _create_hook_manager
from kedro.io import DataCatalog
from kedro.pipeline import Node, Pipeline
from kedro.runner import SequentialRunner, ThreadRunner
from mlflow import MlflowClient

from miram.integrations.mlflow.config import MlflowConfig, resolve_paths
from miram.integrations.mlflow.hook import MlflowHook, status_after
from miram.integrations.mlflow.values import flatten, flatten_metrics
from miram.training.checkpointing.interruption import TrainingInterrupted
from miram.training.config import TrainingConfig
from miram.training.logging.telemetry import log_metrics as tell

FIGURE = {"estimate": 0.6, "lower": 0.5, "upper": 0.7, "undefined_draws": 0}
METRICS = {"tasks": {"pathology": {"lesions": 9, "patients": 4, "metrics": {"auc": FIGURE}}}}


@pytest.fixture(scope="module")
def empty_store(tmp_path_factory):
    """An MLflow database without runs; making one takes seconds."""
    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def config(tmp_path, empty_store):
    (tmp_path / "mlflow").mkdir()
    shutil.copy(empty_store, tmp_path / "mlflow/mlflow.db")
    return MlflowConfig(
        tracking_uri=f"sqlite:///{tmp_path}/mlflow/mlflow.db",
        artifacts=(tmp_path / "mlflow/artifacts").as_uri(),
        pending=str(tmp_path / "mlflow/pending"),
    )


def node(method):
    return SimpleNamespace(namespace=method, name=f"{method}.pretrain_encoder")


def catalog(**entries):
    return SimpleNamespace(get=lambda name: SimpleNamespace(**entries[name]))


def hook_with(config, catalog):
    hook = MlflowHook()
    hook.config = config
    hook.before_pipeline_run({"run_id": "now", "pipeline_names": ["pretrain"]}, catalog)
    return hook


def runs_by_method(config):
    client = MlflowClient(config.tracking_uri)
    experiment = client.get_experiment_by_name(config.experiment)
    runs = client.search_runs(experiment.experiment_id)
    return client, {run.data.tags["method"]: run for run in runs}


def statuses(config):
    return {method: run.info.status for method, run in runs_by_method(config)[1].items()}


def run_with_kedro(config, runner, functions):
    """Run a pipeline of one node for each method with the hook, as a session does."""
    hook = MlflowHook()
    hook.config = config
    manager = _create_hook_manager()
    manager.register(hook)
    nodes = [
        Node(function, None, f"{method}.out", name=f"{method}.train", namespace=method)
        for method, function in functions.items()
    ]
    told = {"run_params": {"run_id": "now"}, "pipeline": None, "catalog": DataCatalog()}
    manager.hook.before_pipeline_run(**told)
    try:
        runner.run(Pipeline(nodes), DataCatalog(), hook_manager=manager)
    except Exception as error:
        manager.hook.on_pipeline_error(error=error, **told)
        return hook
    manager.hook.after_pipeline_run(run_result={}, **told)
    return hook


def test_each_method_gets_a_child_run_and_what_it_tells(config):
    hook = hook_with(config, catalog(metrics={"metadata": {"mlflow": {"log": "metrics"}}}))
    for method, loss in (("mae", 0.5), ("miram_nystrom", 0.4)):
        hook.before_node_run(node(method), {f"params:{method}.method": {"kind": method}})
        tell(1, {"loss": 2 * loss})
        tell(2, {"loss": loss})
        hook.after_node_run()
        hook.after_dataset_saved("metrics", METRICS, node(method))
    hook.after_pipeline_run()
    client, runs = runs_by_method(config)
    assert set(runs) == {"", "mae", "miram_nystrom"}
    assert {run.info.status for run in runs.values()} == {"FINISHED"}
    for method, loss in (("mae", 0.5), ("miram_nystrom", 0.4)):
        run = runs[method]
        assert run.data.tags["mlflow.parentRunId"] == runs[""].info.run_id
        assert run.data.params == {"method.kind": method}
        history = client.get_metric_history(run.info.run_id, "loss")
        assert [(point.step, point.value) for point in history] == [(1, 2 * loss), (2, loss)]
        assert run.data.metrics["pathology.auc.upper"] == 0.7


def test_pictures_of_a_step_can_be_paged_through_in_mlflow(config, tmp_path):
    hook = hook_with(config, catalog())
    hook.before_node_run(node("mae"), {})
    grey, color = np.full((4, 6), 7, np.uint8), np.full((4, 6, 3), 9, np.uint8)
    tell(5, {"loss": 1.0}, {"reconstructions": grey})
    tell(10, {"loss": 1.0}, {"reconstructions": color})
    hook.after_pipeline_run()
    client, runs = runs_by_method(config)
    run_id = runs["mae"].info.run_id
    assert runs["mae"].data.tags["mlflow.loggedImages"] == "True"
    paths = [item.path for item in client.list_artifacts(run_id, "images")]
    pictures = [path for path in paths if path.endswith(".png")]
    assert [path.split("+")[:3] for path in pictures] == [
        ["images/reconstructions", "step", "10"],
        ["images/reconstructions", "step", "5"],
    ]
    folder = tmp_path / "mlflow/artifacts" / run_id / "artifacts"
    from PIL import Image

    assert np.array_equal(np.asarray(Image.open(folder / pictures[0])), color)
    assert np.array_equal(np.asarray(Image.open(folder / pictures[1])), grey)
    assert not list((tmp_path / "mlflow/pending").iterdir())


def test_an_audit_is_counted_by_code_and_kept(config, tmp_path):
    path = tmp_path / "audit.csv"
    path.write_text("code\n")
    wish = {"metadata": {"mlflow": {"log": "audit"}}, "_filepath": path}
    hook = hook_with(config, catalog(audit=wish))
    hook.before_node_run(node(""), {})
    hook.after_dataset_saved("audit", pd.DataFrame({"code": ["a", "b", "a"]}), node(""))
    hook.after_pipeline_run()
    client, runs = runs_by_method(config)
    assert runs[""].data.metrics == {"audit.a": 2.0, "audit.b": 1.0}
    assert [item.path for item in client.list_artifacts(runs[""].info.run_id)] == ["audit.csv"]


def test_a_failed_node_ends_its_run_as_failed(config):
    def fail():
        raise ValueError("no")

    run_with_kedro(config, SequentialRunner(), {"mae": lambda: 1, "random": fail})
    assert statuses(config) == {"": "FAILED", "mae": "FINISHED", "random": "FAILED"}


def test_an_interrupted_training_is_killed_not_failed(config):
    def stop():
        raise TrainingInterrupted("stopped by SIGTERM after step 3 of 9", 143)

    run_with_kedro(config, SequentialRunner(), {"mae": lambda: 1, "random": stop})
    assert statuses(config) == {"": "KILLED", "mae": "FINISHED", "random": "KILLED"}


def test_an_interruption_is_found_behind_the_errors_it_caused():
    try:
        try:
            raise TrainingInterrupted("stopped", 130)
        except TrainingInterrupted as error:
            raise RuntimeError("rank 0 ended") from error
    except RuntimeError as error:
        assert status_after(error) == "KILLED"
    assert status_after(KeyboardInterrupt()) == "KILLED"
    assert status_after(RuntimeError("out of memory")) == "FAILED"


def test_a_command_that_a_notebook_interrupts_is_killed_when_the_next_one_starts(config):
    def interrupt():
        raise KeyboardInterrupt

    hook = MlflowHook()
    hook.config = config
    manager = _create_hook_manager()
    manager.register(hook)
    told = {"run_params": {"run_id": "now"}, "pipeline": None, "catalog": DataCatalog()}
    manager.hook.before_pipeline_run(**told)
    training = Node(interrupt, None, "mae.out", name="mae.train", namespace="mae")
    with pytest.raises(KeyboardInterrupt):
        SequentialRunner().run(Pipeline([training]), DataCatalog(), hook_manager=manager)
    hook.config = config.model_copy(update={"enabled": False})
    manager.hook.before_pipeline_run(**told)
    assert statuses(config) == {"": "KILLED", "mae": "KILLED"}


def test_methods_that_train_in_threads_tell_their_own_runs(config):
    together = threading.Barrier(3)

    def training(loss):
        def train():
            for step in range(1, 30):
                together.wait()
                tell(step, {"loss": loss})
            return 1

        return train

    functions = {"mae": training(1.0), "random": training(2.0), "moco_v3": training(3.0)}
    run_with_kedro(config, ThreadRunner(max_workers=3), functions)
    client, runs = runs_by_method(config)
    for method, loss in (("mae", 1.0), ("random", 2.0), ("moco_v3", 3.0)):
        history = client.get_metric_history(runs[method].info.run_id, "loss")
        assert [(point.step, point.value) for point in history] == [(n, loss) for n in range(1, 30)]


def test_a_refused_value_takes_no_other_along(config, caplog):
    hook = hook_with(config, catalog())
    with caplog.at_level(logging.WARNING, logger="miram"):
        parameters = {"params:good": 1, "params:bad!": 2, "params:fine": 3}
        hook.before_node_run(node("mae"), parameters)
        tell(1, {"loss": 1.0, "bad!": 2.0})
        hook.after_pipeline_run()
    run = runs_by_method(config)[1]["mae"]
    assert run.data.params == {"good": "1", "fine": "3"}
    assert run.data.metrics == {"loss": 1.0}
    assert run.info.status == "FINISHED"
    assert ["bad!" in record.message for record in caplog.records] == [True, True]


def test_more_parameters_than_mlflow_takes_at_once_all_arrive(config):
    hook = hook_with(config, catalog())
    hook.before_node_run(node("mae"), {"params:many": {str(n): n for n in range(250)}})
    hook.before_node_run(node("mae"), {"params:many": {"0": "of another node", "new": 1}})
    hook.after_pipeline_run()
    params = runs_by_method(config)[1]["mae"].data.params
    assert params == {f"many.{n}": str(n) for n in range(250)} | {"many.new": "1"}


def test_a_vanished_artifact_costs_a_warning_and_nothing_else(config, tmp_path, caplog):
    gone = tmp_path / "gone.csv"
    wish = {"metadata": {"mlflow": {"log": "artifact"}}, "_filepath": gone}
    hook = hook_with(config, catalog(history=wish))
    with caplog.at_level(logging.WARNING, logger="miram"):
        hook.before_node_run(node("mae"), {})
        hook.after_dataset_saved("history", None, node("mae"))
        tell(1, {"loss": 1.0})
        hook.after_pipeline_run()
    assert [str(gone) in record.message for record in caplog.records] == [True]
    assert runs_by_method(config)[1]["mae"].data.metrics == {"loss": 1.0}


def test_a_disk_that_takes_no_journal_costs_a_warning_and_nothing_else(config, tmp_path, caplog):
    (tmp_path / "file").write_text("a file is no folder")
    hook = hook_with(config.model_copy(update={"pending": f"{tmp_path}/file/x"}), catalog())
    hook.before_node_run(node("mae"), {})
    tell(1, {"loss": 1.0})
    hook.after_pipeline_run()
    assert runs_by_method(config)[1]["mae"].data.metrics == {"loss": 1.0}
    warnings = [record.message for record in caplog.records if record.levelname == "WARNING"]
    assert ["cannot be kept" in message for message in warnings] == [True]


def test_switched_off_it_records_nothing(tmp_path):
    config = MlflowConfig(enabled=False, tracking_uri=f"sqlite:///{tmp_path}/m/m.db")
    hook = hook_with(config, catalog())
    hook.before_node_run(node("mae"), {})
    hook.after_pipeline_run()
    assert not list(tmp_path.iterdir())


def test_a_finished_command_no_longer_listens(config):
    hook = hook_with(config, catalog())
    hook.after_pipeline_run()
    tell(1, {"loss": 1.0})
    assert not runs_by_method(config)[1][""].data.metrics


def test_typed_parameters_become_single_values():
    config = TrainingConfig(epochs=3, batch_size=4)
    flat = flatten("training", config)
    assert flat["training.epochs"] == "3"
    assert flat["training.optimizer.base_lr"] == "0.00015"
    assert flatten("decoders", [{"scale": 1}, {"scale": 2}]) == {
        "decoders.0.scale": "1",
        "decoders.1.scale": "2",
    }
    assert flatten("tasks", ["a", "b"]) == {"tasks": "['a', 'b']"}


def test_metrics_become_an_estimate_and_its_ends():
    assert json.loads(json.dumps(flatten_metrics(METRICS))) == {
        "pathology.lesions": 9.0,
        "pathology.patients": 4.0,
        "pathology.auc": 0.6,
        "pathology.auc.lower": 0.5,
        "pathology.auc.upper": 0.7,
    }


def test_the_spread_of_seeds_and_repeats_is_a_metric_where_there_is_one():
    metric = {**FIGURE, "by_repeat": [0.5, 0.7], "repeat_deviation": 0.14, "seed_deviation": None}
    task = {"lesions": 9, "patients": 4, "metrics": {"auc": metric}}
    found = flatten_metrics({"tasks": {"pathology": task}})
    assert found["pathology.auc.repeat_deviation"] == 0.14
    assert "pathology.auc.seed_deviation" not in found


@pytest.mark.parametrize("uri", ["sqlite:///data/mlflow.db", "http://server:5000"])
def test_relative_stores_belong_to_the_project_and_servers_stay_as_they_are(uri, tmp_path):
    config = resolve_paths(MlflowConfig(tracking_uri=uri, artifacts="data/x/artifacts"), tmp_path)
    assert config.pending == f"{tmp_path}/data/x/pending"
    if uri.startswith("http"):
        assert config.tracking_uri == uri
        assert config.artifacts is None
    else:
        assert config.tracking_uri == f"sqlite:///{tmp_path}/data/mlflow.db"
        assert config.artifacts == (tmp_path / "data/x/artifacts").as_uri()
