"""A training that goes on after an interruption is recorded in the run it had."""

import json
import shutil
import time
from types import SimpleNamespace

import pytest
from mlflow import MlflowClient

from miram.integrations.mlflow.config import MlflowConfig
from miram.integrations.mlflow.hook import MlflowHook
from miram.integrations.mlflow.operations import Operation
from miram.integrations.mlflow.server import Server
from miram.training.checkpointing.folder import TrainingFolder
from miram.training.checkpointing.interruption import TrainingInterrupted
from miram.training.logging.telemetry import log_metrics as tell

MAE = SimpleNamespace(namespace="mae", name="mae.pretrain_encoder")
STOP = TrainingInterrupted("stopped by SIGTERM after step 1 of 9", 143)


@pytest.fixture(scope="module")
def empty_store(tmp_path_factory):
    """An MLflow database without runs; making one takes seconds."""
    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def config(tmp_path, empty_store):
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    return MlflowConfig(
        tracking_uri=f"sqlite:///{tmp_path}/mlflow.db", artifacts=str(tmp_path / "artifacts")
    )


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "training").mkdir()
    return TrainingFolder(tmp_path / "training")


def begin(config, folder, **inputs):
    hook = MlflowHook()
    hook.config = config
    hook.before_pipeline_run({"run_id": "now"}, None)
    hook.before_node_run(MAE, {"mae.training_folder": folder, **inputs})
    return hook


def finish(hook):
    hook.after_node_run()
    hook.after_pipeline_run()


def interrupt(hook, folder):
    (folder.path / "step-000000001.pt").write_text("a state")
    hook.on_node_error(STOP, MAE)
    hook.on_pipeline_error(STOP)


def runs_of(config):
    """Runs of mae and of commands, the oldest first."""
    client = MlflowClient(config.tracking_uri)
    experiment = client.get_experiment_by_name(config.experiment)
    runs = client.search_runs(experiment.experiment_id, order_by=["start_time"])
    mae = [run for run in runs if run.data.tags["method"] == "mae"]
    return mae, [run for run in runs if run not in mae]


def note_of(folder):
    return json.loads(folder.tracker_note.read_text())


def test_each_interruption_is_counted_and_the_last_command_is_the_parent(config, folder):
    interrupt(begin(config, folder), folder)
    [run], _ = runs_of(config)
    assert run.info.status == "KILLED"
    assert note_of(folder) == {
        "tracking_uri": config.tracking_uri,
        "run_id": run.info.run_id,
    }
    interrupt(begin(config, folder), folder)
    finish(begin(config, folder))
    [run], commands = runs_of(config)
    assert run.info.status == "FINISHED"
    assert run.data.tags["resumed"] == "2"
    assert run.data.tags["mlflow.parentRunId"] == commands[-1].info.run_id
    assert [command.info.status for command in commands] == ["KILLED", "KILLED", "FINISHED"]


def test_while_it_goes_on_the_run_is_running_again(config, folder):
    interrupt(begin(config, folder), folder)
    hook = begin(config, folder)
    while len(hook.tracker.sender):
        time.sleep(0.01)
    [run], _ = runs_of(config)
    assert run.info.status == "RUNNING"
    finish(hook)


def test_a_parent_that_never_ended_is_killed(config, folder, tmp_path):
    lost = begin(config, folder)
    (folder.path / "step-000000001.pt").write_text("a state")
    while len(lost.tracker.sender.journal):
        time.sleep(0.01)
    elsewhere = config.model_copy(update={"pending": str(tmp_path / "other machine")})
    finish(begin(elsewhere, folder))
    _, (former, parent) = runs_of(config)
    assert (former.info.status, parent.info.status) == ("KILLED", "FINISHED")
    finish(lost)


def test_a_finished_training_is_followed_by_a_run_of_its_own(config, folder):
    finish(begin(config, folder))
    assert not folder.tracker_note.exists()
    (folder.path / "step-000000001.pt").write_text("of another program")
    finish(begin(config, folder))
    mae, _ = runs_of(config)
    assert len(mae) == 2
    assert not any("resumed" in run.data.tags for run in mae)


def test_a_training_that_starts_afresh_gets_a_run_of_its_own(config, folder):
    interrupt(begin(config, folder), folder)
    hook = begin(config, folder, **{"params:training": {"resume": False}})
    interrupt(hook, folder)
    mae, _ = runs_of(config)
    assert len(mae) == 2
    assert note_of(folder)["run_id"] == mae[1].info.run_id


def test_an_interruption_among_folds_goes_on_in_the_same_run(config, folder):
    hook = begin(config, folder)
    fold = folder.part("fold 1")
    fold.path.mkdir()
    fold.finished.write_text("a result")
    hook.on_node_error(STOP, MAE)
    hook.on_pipeline_error(STOP)
    finish(begin(config, folder))
    mae, _ = runs_of(config)
    assert [run.data.tags["resumed"] for run in mae] == ["1"]


def steps_of(config, run, key="loss"):
    client = MlflowClient(config.tracking_uri)
    return [row.step for row in client.get_metric_history(run.info.run_id, key)]


def test_steps_that_are_taken_again_are_recorded_once(config, folder):
    hook = begin(config, folder)
    for step in (1, 2, 3, 4):
        tell(step, {"loss": 1 / step, "lr": 0.1})
    interrupt(hook, folder)
    hook = begin(config, folder)
    for step in (3, 4, 5, 6):  # the state was that after step 2
        tell(step, {"loss": 1 / step, "validation_auc": 0.5})
    finish(hook)
    [run], _ = runs_of(config)
    assert steps_of(config, run) == [1, 2, 3, 4, 5, 6]
    assert steps_of(config, run, "validation_auc") == [3, 4, 5, 6]


def test_another_training_in_a_resumed_run_is_recorded_in_full(config, folder):
    hook = begin(config, folder)
    for step in (1, 2, 3):
        tell(step, {"loss": 1.0})
    interrupt(hook, folder)
    hook = begin(config, folder)
    tell(3, {"loss": 1.0})
    hook.after_node_run()
    hook.before_node_run(MAE, {"mae.finetuning_folder": folder.part("finetuning")})
    tell(1, {"loss": 2.0})
    tell(2, {"loss": 2.0})
    finish(hook)
    [run], _ = runs_of(config)
    assert sorted(steps_of(config, run)) == [1, 1, 2, 2, 3]


@pytest.mark.parametrize("reason", ["another server", "deleted", "torn note", "no note"])
def test_a_run_that_cannot_go_on_is_followed_by_a_new_one(config, folder, reason):
    interrupt(begin(config, folder), folder)
    [former], _ = runs_of(config)
    if reason == "another server":
        note = {**note_of(folder), "tracking_uri": "http://elsewhere:5000"}
        folder.tracker_note.write_text(json.dumps(note))
    elif reason == "deleted":
        MlflowClient(config.tracking_uri).delete_run(former.info.run_id)
    elif reason == "torn note":
        folder.tracker_note.write_text('{"tracking_uri": ')
    else:
        folder.tracker_note.unlink()
    hook = begin(config, folder)
    tell(2, {"loss": 0.5})
    interrupt(hook, folder)
    run = runs_of(config)[0][-1]
    assert run.info.run_id != former.info.run_id
    assert run.data.metrics == {"loss": 0.5}
    assert note_of(folder)["run_id"] == run.info.run_id


def test_an_answer_that_got_lost_neither_doubles_a_run_nor_a_resumption(config, folder):
    server = Server(config)
    tags = {"method": "mae"}
    parent = Operation("open", "a", {"tags": {"method": ""}, "parent": None, "resume": None})
    child = Operation("open", "b", {"tags": tags, "parent": "a", "resume": None})
    runs = server.perform([parent], {})
    assert server.perform([parent], {}) == runs
    opened = server.perform([child], runs)
    assert server.perform([child], runs) == opened
    note = Operation("note", "b", {"path": str(folder.tracker_note)})
    server.perform([note], opened)
    again = {"tags": tags, "parent": "c", "resume": str(folder.tracker_note)}
    runs |= server.perform(
        [Operation("open", "c", {"tags": {"method": ""}, "parent": None, "resume": None})], {}
    )
    for _ in range(2):
        assert server.perform([Operation("open", "d", again)], runs) == {"d": opened["b"]}
    mae, commands = runs_of(config)
    assert [run.data.tags["resumed"] for run in mae] == ["1"]
    assert len(commands) == 2
