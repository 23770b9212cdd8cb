"""What a command leaves in MLflow."""

import logging
import threading
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from kedro.io import AbstractDataset
from kedro.pipeline import Pipeline
from kedro.runner import ThreadRunner
from mlflow_commands import METRICS, Recorded, make_config, node

from miram.errors import MiramError
from miram.integrations.mlflow.hook import status_after
from miram.serving.registry.tracking import MlflowConfig, flatten_metrics
from miram.training.checkpointing.interruption import TrainingInterrupted
from miram.training.logging.telemetry import log_metrics


def training(*losses, result=1, pictures=None):
    """A node's function that reports a loss for every step."""

    def train(*_):
        for step, loss in enumerate(losses, 1):
            log_metrics(step, {"loss": loss}, pictures)
        return result

    return train


def failing(error):
    def fail(*_):
        raise error

    return fail


class Refusing(AbstractDataset):
    """A dataset whose saves end with an error."""

    def __init__(self, error):
        self.error = error

    def save(self, data):
        raise self.error

    def load(self):
        raise self.error

    def _describe(self):
        return {}


class Crops:
    folder = Path("crops")
    digest = "0123456789abcdef"
    crops = np.zeros((5, 4, 4), np.uint16)


def test_each_method_has_a_run_with_the_same_keys_below_that_of_the_command(config, run_command):
    nodes = []
    for method, loss in (("mae", 0.5), ("miram_nystrom", 0.4)):
        own = {f"params:{method}.method": {"decoders": [{"kind": method}]}}
        nodes += [
            node(method, training(2 * loss, loss), [*own, "crops"], f"{method}.encoder"),
            node(method, lambda _: METRICS, f"{method}.encoder", f"{method}.metrics"),
        ]
    params = {
        f"params:{method}.method": {"decoders": [{"kind": method}]}
        for method in ("mae", "miram_nystrom")
    }
    assert run_command(config, *nodes, crops=Crops, **params).error is None
    found = Recorded(config)
    [parent] = found.commands
    assert parent.info.run_name == "probe phantom, 2 methods"
    assert set(found.by_method) == {"mae", "miram_nystrom"}
    assert set(found.statuses()) == {"FINISHED"}
    for method, loss in (("mae", 0.5), ("miram_nystrom", 0.4)):
        run = found.by_method[method]
        assert run.info.run_name == method
        assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id
        assert run.data.params == {"method.decoders.0.kind": method}
        assert found.points(run) == [(1, 2 * loss), (2, loss)]
        assert run.data.metrics["pathology.auc.upper"] == 0.7
        [dataset] = run.inputs.dataset_inputs
        assert (dataset.dataset.name, dataset.dataset.digest) == ("phantom crops", Crops.digest)
        assert run.data.tags["data_digest"] == Crops.digest


def test_a_run_names_its_command_without_raw_data_and_its_commit(config, run_command, monkeypatch):
    given = "source=my data,raw_root=/Films of Doe,methods=mae,sources.image_table.table=Doe.csv"
    monkeypatch.setattr("sys.argv", ["/bin/kedro", "run", "--params", given])
    monkeypatch.setattr("miram.integrations.mlflow.hook.git_commit", lambda: "0a1b-dirty")
    run_command(config, node("mae", training()))
    [run] = Recorded(config).runs
    assert run.data.tags["mlflow.source.name"] == "kedro run --params 'source=my data,methods=mae'"
    assert run.data.tags["mlflow.source.type"] == "LOCAL"
    assert run.data.tags["mlflow.source.git.commit"] == "0a1b"
    assert run.data.tags["git_commit"] == "0a1b-dirty"


def test_metrics_of_fine_tuning_have_keys_of_their_own(config, run_command, tmp_path):
    folder = SimpleNamespace(path=tmp_path, unfinished=False)
    run_command(
        config,
        node("mae", training(0.5), None, "mae.encoder"),
        node("mae", lambda _: METRICS, "mae.encoder", "mae.metrics"),
        node(
            "mae", training(0.25, result=METRICS), "mae.finetuning_folder", "mae.finetuned_metrics"
        ),
        **{"mae.finetuning_folder": folder},
    )
    [run] = Recorded(config).runs
    assert run.data.metrics["loss"] == 0.5
    assert run.data.metrics["finetuned/loss"] == 0.25
    assert {"pathology.auc", "finetuned/pathology.auc"} <= set(run.data.metrics)


def test_pictures_of_a_step_can_be_paged_through_in_mlflow(config, run_command):
    color = np.full((4, 6, 3), 9, np.uint8)
    run_command(config, node("mae", training(1.0, 0.5, pictures={"reconstructions": color})))
    found = Recorded(config)
    [run] = found.runs
    assert run.data.tags["mlflow.loggedImages"] == "True"
    pictures = [path for path in found.files(run, "images") if path.endswith(".png")]
    assert [path.split("+")[:3] for path in pictures] == [
        ["images/reconstructions", "step", "1"],
        ["images/reconstructions", "step", "2"],
    ]


def test_an_audit_is_counted_by_code_and_stays_where_it_names_files(config, run_command):
    audit = pd.DataFrame({"code": ["a", "b", "a"]})
    run_command(config, node("", lambda: audit, None, "audit"))
    found = Recorded(config)
    assert found.commands[0].data.metrics == {"audit.a": 2.0, "audit.b": 1.0}
    assert not found.files(found.commands[0])


def test_files_and_columns_of_raw_data_are_no_parameters_of_a_run(config, run_command):
    sources = {"image_table": {"table": "Films of Doe.csv"}}
    inputs = ["params:source", "params:sources", "params:rois"]
    values = {"params:sources": sources, "params:rois": {"context": 1.25}}
    run_command(config, node("", lambda *_: 1, inputs, "lesions"), **values)
    [run] = Recorded(config).commands
    assert run.data.params == {"source": "phantom", "rois.context": "1.25"}


def test_a_method_ends_with_its_last_node_and_not_with_the_command(config, run_command):
    done = threading.Event()

    def look(_):
        done.status = Recorded(config).by_method["mae"].info.status
        return 1

    run_command(config, node("mae", training()), node("miram_nystrom", look, "mae.out"))
    assert done.status == "FINISHED"


STOP = TrainingInterrupted("stopped by SIGTERM after step 3 of 9", 143)


@pytest.mark.parametrize("runner", [None, ThreadRunner(max_workers=1)])
@pytest.mark.parametrize(("error", "status"), [(ValueError("no"), "FAILED"), (STOP, "KILLED")])
@pytest.mark.parametrize("place", ["load", "function", "save"])
def test_a_node_that_fails_or_is_interrupted_ends_its_run_so(
    config, run_command, catalog, error, status, place, runner
):
    if place != "function":
        catalog["random.out" if place == "save" else "random.in"] = Refusing(error)
    broken = failing(error) if place == "function" else training()
    needed = ["random.first", *(["random.in"] if place == "load" else [])]
    nodes = [
        node("mae", training()),
        node("random", training(), "mae.out", "random.first"),
        node("random", broken, needed),
    ]
    run_command(config, *nodes, runner=runner)
    found = Recorded(config)
    assert found.commands[0].info.status == status
    assert found.by_method["mae"].info.status == "FINISHED"
    assert found.by_method["random"].info.status == status


@pytest.mark.parametrize("fails", [True, False])
def test_a_generator_has_finished_when_the_next_node_begins(config, run_command, fails):
    def parts():
        yield 1
        if fails:
            raise ValueError("in the middle")
        yield 2

    last = node("random", failing(ValueError("no")), "mae.out")
    run_command(config, node("mae", parts), last)
    found = Recorded(config).by_method
    assert found["mae"].info.status == ("FAILED" if fails else "FINISHED")
    assert ("random" in found) is not fails


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


@pytest.mark.parametrize("place", ["function", "save"])
def test_a_command_that_a_notebook_interrupts_is_killed_when_the_next_one_starts(
    config, run_command, catalog, place
):
    if place == "save":
        catalog["mae.out"] = Refusing(KeyboardInterrupt())
    interrupted = failing(KeyboardInterrupt()) if place == "function" else training()
    with pytest.raises(KeyboardInterrupt):
        run_command(config, node("mae", interrupted))
    run_command.hook.before_pipeline_run(
        run_params={"run_id": "2"}, pipeline=Pipeline([]), catalog=catalog
    )
    run_command.hook.after_pipeline_run()
    assert Recorded(config).statuses() == ["KILLED", "FINISHED", "KILLED"]


def test_methods_that_train_in_threads_have_their_own_steps(config, run_command):
    together = threading.Barrier(3)

    def steps(loss):
        def train():
            for step in range(1, 30):
                together.wait()
                log_metrics(step, {"loss": loss})
            return 1

        return train

    losses = {"mae": 1.0, "random": 2.0, "moco_v3": 3.0}
    nodes = [node(method, steps(loss)) for method, loss in losses.items()]
    run_command(config, *nodes, runner=ThreadRunner(max_workers=3))
    found = Recorded(config)
    for method, loss in losses.items():
        assert found.points(found.by_method[method]) == [(n, loss) for n in range(1, 30)]


def test_names_that_mlflow_refuses_are_changed_and_every_parameter_arrives(
    config, run_command, caplog
):
    many = {str(number): number for number in range(250)} | {"a!": "x" * 1000}

    def train(_):
        log_metrics(1, {"loss": 1.0, "birads 4+": 2.0})
        return 1

    run_command(config, node("mae", train, "params:many"), **{"params:many": many})
    run = Recorded(config).by_method["mae"]
    expected = {f"many.{number}": str(number) for number in range(250)}
    assert run.data.params == expected | {"many.a_": "x" * 500}
    assert run.data.metrics == {"loss": 1.0, "birads 4_": 2.0}
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_nodes_of_a_method_may_share_parameters_and_the_first_value_stays(config, run_command):
    first, second = {"a": 1}, {"a": 2, "b": 3}
    run_command(
        config,
        node("mae", training(), "params:mae.x", "mae.one"),
        node("mae", training(), ["params:x", "mae.one"]),
        **{"params:mae.x": first, "params:x": second},
    )
    assert Recorded(config).runs[0].data.params == {"x.a": "1", "x.b": "3"}


def test_a_vanished_artifact_costs_a_warning_and_nothing_else(
    config, run_command, catalog, tmp_path, caplog, monkeypatch
):
    history = catalog.get("mae.history")
    monkeypatch.setattr(history, "save", lambda data: None)
    with caplog.at_level(logging.WARNING, logger="miram"):
        run_command(config, node("mae", training(1.0), None, "mae.history"))
    assert ["mae.csv" in record.message for record in caplog.records] == [True]
    [run] = Recorded(config).runs
    assert (run.data.metrics, run.info.status) == ({"loss": 1.0}, "FINISHED")


def test_switched_off_it_records_nothing(run_command, tmp_path):
    run_command(
        make_config(f"sqlite:///{tmp_path}/m/m.db", tmp_path, enabled=False),
        node("mae", training()),
    )
    assert not list(tmp_path.iterdir())


def test_a_finished_command_no_longer_listens(config, run_command):
    run_command(config, node("mae", training(1.0)))
    log_metrics(2, {"loss": 2.0})
    assert Recorded(config).points(Recorded(config).runs[0]) == [(1, 1.0)]


@pytest.mark.parametrize("uri", ["./mlruns", "file:///data/mlruns", "data/mlflow"])
def test_a_store_that_mlflow_no_longer_takes_is_refused_in_one_sentence(uri):
    with pytest.raises(MiramError, match="MLflow no longer takes a folder: give a database"):
        MlflowConfig.model_validate({"tracking_uri": uri})


def test_a_store_that_cannot_be_opened_stops_the_command_at_its_start(run_command, tmp_path):
    (tmp_path / "mlflow.db").write_text("no database " * 99)
    config = make_config(f"sqlite:///{tmp_path}/mlflow.db", tmp_path)
    with pytest.raises(MiramError, match=r"cannot record runs .*: correct mlflow\.yml"):
        run_command(config, node("mae", failing(AssertionError("the node ran"))))


def test_metrics_become_an_estimate_its_interval_and_the_spread_where_there_is_one():
    auc = METRICS["tasks"]["pathology"]["metrics"]["auc"]
    spread = {**auc, "by_repeat": [0.5, 0.7], "repeat_deviation": 0.14, "seed_deviation": None}
    task = {"lesions": 9, "patients": 4, "metrics": {"auc": spread}}
    assert flatten_metrics({"tasks": {"pathology": task}}) == {
        "pathology.lesions": 9.0,
        "pathology.patients": 4.0,
        "pathology.auc": 0.6,
        "pathology.auc.lower": 0.5,
        "pathology.auc.upper": 0.7,
        "pathology.auc.repeat_deviation": 0.14,
    }


@pytest.mark.parametrize("uri", ["sqlite:///data/mlflow.db", "http://server:5000"])
def test_relative_stores_belong_to_the_project_and_servers_stay_as_they_are(uri, tmp_path):
    config = MlflowConfig(tracking_uri=uri, artifacts="data/x/artifacts").within(tmp_path)
    assert config.unfinished == f"{tmp_path}/data/mlflow/unfinished"
    local = not uri.startswith("http")
    assert config.tracking_uri == (f"sqlite:///{tmp_path}/data/mlflow.db" if local else uri)
    assert config.artifacts == ((tmp_path / "data/x/artifacts").as_uri() if local else None)
