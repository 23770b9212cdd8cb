import logging
import socket
from types import SimpleNamespace

import pytest
from mlflow import MlflowClient

from miram.integrations.mlflow_hook import (
    MlflowConfig,
    MlflowHook,
    Tracker,
    flatten,
    flatten_figures,
    resolve_paths,
)
from miram.training.loop import TrainingConfig
from miram.training.telemetry import tell

FIGURE = {"estimate": 0.6, "lower": 0.5, "upper": 0.7, "undefined_draws": 0}
METRICS = {"tasks": {"pathology": {"lesions": 9, "patients": 4, "figures": {"auc": FIGURE}}}}


def store(folder):
    return MlflowConfig(tracking_uri=f"sqlite:///{folder}/mlflow.db", artifacts=folder.as_uri())


def node(method):
    return SimpleNamespace(namespace=method, name=f"{method}.pretrain_encoder")


def catalog(**metadata):
    return SimpleNamespace(get=lambda name: SimpleNamespace(metadata=metadata[name]))


def runs_by_method(config):
    client = MlflowClient(config.tracking_uri)
    experiment = client.get_experiment_by_name(config.experiment)
    return client, {
        run.data.tags["method"]: run for run in client.search_runs(experiment.experiment_id)
    }


def hook_with(config, catalog):
    hook = MlflowHook()
    hook.config = config
    hook.before_pipeline_run({"run_id": "now", "pipeline_names": ["pretrain"]}, catalog)
    return hook


def test_each_method_gets_a_child_run_and_what_it_tells(tmp_path):
    config = store(tmp_path)
    hook = hook_with(config, catalog(metrics={"mlflow": {"log": "metrics"}}))
    for method, loss in (("mae", 0.5), ("miram_nystrom", 0.4)):
        hook.before_node_run(node(method), {f"params:{method}.method": {"kind": method}})
        tell(1, {"loss": 2 * loss})
        tell(2, {"loss": loss})
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


def test_a_failed_node_ends_its_run_as_failed(tmp_path):
    config = store(tmp_path)
    hook = hook_with(config, catalog())
    for method in ("mae", "miram_nystrom"):
        hook.before_node_run(node(method), {})
    hook.on_node_error(node("miram_nystrom"))
    hook.on_pipeline_error()
    _, runs = runs_by_method(config)
    status = {method: run.info.status for method, run in runs.items()}
    assert status == {"": "FAILED", "mae": "FINISHED", "miram_nystrom": "FAILED"}


def test_a_dead_server_costs_one_warning_and_nothing_else(caplog, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{taken.getsockname()[1]}"
    config = MlflowConfig(tracking_uri=address)
    with caplog.at_level(logging.WARNING, logger="miram"):
        hook = hook_with(config, catalog(metrics={"mlflow": {"log": "metrics"}}))
        hook.before_node_run(node("mae"), {"params:training": {"epochs": 1}})
        tell(1, {"loss": 1.0})
        hook.after_dataset_saved("metrics", METRICS, node("mae"))
        hook.after_pipeline_run()
    warnings = [record.message for record in caplog.records if "MLflow" in record.message]
    assert len(warnings) == 1
    assert address in warnings[0]


def test_switched_off_it_records_nothing(tmp_path):
    config = store(tmp_path).model_copy(update={"enabled": False})
    hook = hook_with(config, catalog())
    hook.before_node_run(node("mae"), {})
    hook.after_pipeline_run()
    assert not list(tmp_path.iterdir())


def test_a_finished_tracker_no_longer_listens(tmp_path):
    tracker = Tracker(store(tmp_path), {"run_id": "now"}, catalog())
    tracker.finish("FINISHED")
    tell(1, {"loss": 1.0})
    _, runs = runs_by_method(store(tmp_path))
    assert not runs[""].data.metrics


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


def test_figures_become_an_estimate_and_its_ends():
    flat = flatten_figures(METRICS)
    assert flat == {
        "pathology.lesions": 9.0,
        "pathology.patients": 4.0,
        "pathology.auc": 0.6,
        "pathology.auc.lower": 0.5,
        "pathology.auc.upper": 0.7,
    }


@pytest.mark.parametrize("uri", ["sqlite:///data/mlflow.db", "http://server:5000"])
def test_relative_stores_belong_to_the_project_and_servers_stay_as_they_are(uri, tmp_path):
    config = resolve_paths(MlflowConfig(tracking_uri=uri, artifacts="data/artifacts"), tmp_path)
    if uri.startswith("http"):
        assert config.tracking_uri == uri
        assert config.artifacts is None
    else:
        assert config.tracking_uri == f"sqlite:///{tmp_path}/data/mlflow.db"
        assert config.artifacts == (tmp_path / "data/artifacts").as_uri()
