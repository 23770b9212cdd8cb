"""What waits for a server survives on disk."""

import json
import logging
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from mlflow import MlflowClient

from miram.integrations.mlflow.config import MlflowConfig
from miram.integrations.mlflow.hook import MlflowHook
from miram.integrations.mlflow.journal import Journal, leftovers
from miram.integrations.mlflow.operations import MOST_METRICS, Operation, first_request
from miram.integrations.mlflow.sender import MOST_TRIES
from miram.training.logging.telemetry import log_metrics as tell

MAE = SimpleNamespace(namespace="mae", name="mae.pretrain_encoder")


@pytest.fixture
def config(tmp_path):
    return MlflowConfig(tracking_uri="http://server:5000", pending=str(tmp_path / "pending"))


def opening(run="a"):
    return Operation("open", run, {"tags": {}, "parent": None, "resume": None}, 1)


def metrics(step, run="a", **values):
    return Operation("metrics", run, {"step": step, "metrics": values or {"loss": 0.5}}, step)


def ending(run="a", status="FINISHED", time=9):
    return Operation("end", run, {"status": status}, time)


def waiting(journal):
    return [operation for _, operation in journal._waiting]


def test_what_was_not_delivered_is_read_back_in_order_with_the_runs_it_belongs_to(config):
    journal = Journal.create(config)
    told = [opening(), metrics(1), metrics(2, loss=float("inf")), metrics(3), ending()]
    for operation in told:
        journal.append(operation)
    journal.delivered(1, {"a": "server's name"})
    journal.delivered(1, {})
    journal.close()
    [again] = leftovers(config)
    assert waiting(again) == told[2:]
    assert again.runs == {"a": "server's name"}
    again.delivered(3, {})
    again.close()
    assert not list(Path(config.pending).iterdir())


def test_the_next_command_leaves_one_that_still_runs_alone(config):
    running = Journal.create(config)
    running.append(opening())
    assert leftovers(config) == []
    running.close()
    [left] = leftovers(config)
    left.close()


def test_what_waits_for_another_server_is_kept_for_it(config, caplog):
    caplog.set_level(logging.INFO, logger="miram.integrations")
    journal = Journal.create(config)
    journal.append(opening())
    journal.close()
    other = config.model_copy(update={"tracking_uri": "http://new:5000"})
    assert leftovers(other) == []
    assert "waits for MLflow at http://server:5000" in caplog.text
    [left] = leftovers(config)
    left.close()


def test_what_waits_goes_to_the_experiment_it_was_recorded_for(config):
    journal = Journal.create(config.model_copy(update={"experiment": "of then"}))
    journal.append(opening())
    journal.close()
    [left] = leftovers(config)
    assert left.config.experiment == "of then"
    left.close()


def test_runs_of_a_killed_command_end_with_its_last_record(config):
    journal = Journal.create(config)
    for operation in (opening("a"), opening("b"), ending("b"), metrics(7)):
        journal.append(operation)
    journal.delivered(4, {"a": "1", "b": "2"})
    journal._lock.release()  # as the system does when a process dies
    [left] = leftovers(config)
    assert waiting(left) == [ending("a", "KILLED", time=7)]
    left.close()
    [left] = leftovers(config)
    assert len(left) == 1
    left.close()


@pytest.mark.parametrize(
    "text", ["", "{}", '{"tracking_uri": "http://server:5000"}', "\x00", "[1]"]
)
def test_a_file_that_is_no_journal_costs_a_warning_and_nothing_else(config, text, caplog):
    path = Path(config.pending) / "0-x.jsonl"
    path.parent.mkdir()
    path.write_text(text)
    assert leftovers(config) == []
    assert str(path) in caplog.text
    assert path.read_text() == text


def test_a_torn_line_spoils_no_other(config):
    journal = Journal.create(config)
    journal.append(opening())
    with journal.path.open("a") as file:
        file.write('\n{"number": 2, "operation": {"kind": "metr')
    journal.append(ending())
    journal.close()
    [left] = leftovers(config)
    assert waiting(left) == [opening(), ending()]
    left.close()


def test_pictures_wait_beside_the_journal_and_go_with_it(config):
    from PIL import Image

    picture = np.arange(24, dtype=np.uint8).reshape(4, 6)
    journal = Journal.create(config)
    path = journal.keep_picture(3, picture)
    assert np.array_equal(np.asarray(Image.open(path)), picture)
    values = {"path": str(path), "name": "sheet", "step": 3}
    journal.append(Operation("picture", "a", values, 3))
    journal.delivered(1, {})
    assert not path.exists()
    journal.close()
    assert not list(Path(config.pending).iterdir())


def test_metrics_of_many_steps_go_in_one_request_but_in_order():
    many = [metrics(step, a=1.0, b=2.0, c=3.0) for step in range(500)]
    assert first_request(many) == many[: MOST_METRICS // 3]
    assert first_request([*many[:2], ending(), *many[2:]]) == many[:2]
    assert first_request([*many[:2], metrics(2, run="b")]) == many[:2]
    assert first_request([ending(), *many]) == [ending()]
    wide = metrics(1, **{str(n): 0.0 for n in range(MOST_METRICS + 1)})
    assert first_request([wide, wide]) == [wide]


def test_an_operation_can_be_taken_apart():
    assert metrics(3, a=1.0, b=2.0).parts() == [metrics(3, a=1.0), metrics(3, b=2.0)]
    params = Operation("params", "a", {"x": "1", "y": "2"}, 5)
    assert [part.values for part in params.parts()] == [{"x": "1"}, {"y": "2"}]
    assert {part.time for part in params.parts()} == {5}
    assert ending().parts() == [ending()]


def test_a_journal_is_lines_that_a_person_can_read(config):
    journal = Journal.create(config)
    journal.append(metrics(3))
    lines = [json.loads(line) for line in journal.path.read_text().splitlines() if line]
    assert lines[0]["tracking_uri"] == "http://server:5000"
    assert lines[1]["operation"]["values"] == {"step": 3, "metrics": {"loss": 0.5}}
    journal.close()


def test_what_fails_again_and_again_is_given_up_even_by_short_commands(tmp_path, caplog):
    caplog.set_level(logging.WARNING, logger="miram.integrations")
    (tmp_path / "file").write_text("a file is no folder")
    artifact = tmp_path / "history.csv"
    artifact.write_text("step")
    config = MlflowConfig(
        tracking_uri=f"sqlite:///{tmp_path}/mlflow.db",
        artifacts=(tmp_path / "file/x").as_uri(),  # so that no artifact can be stored
        pending=str(tmp_path / "pending"),
    )
    entry = SimpleNamespace(metadata={"mlflow": {"log": "artifact"}}, _filepath=artifact)
    hook = MlflowHook()
    hook.config = config
    for command in range(MOST_TRIES):
        hook.before_pipeline_run({"run_id": str(command)}, SimpleNamespace(get=lambda _: entry))
        hook.before_node_run(MAE, {})
        if command == 0:
            hook.after_dataset_saved("history", None, MAE)
            tell(1, {"loss": 1.0})
        hook.after_pipeline_run()
        if command == 0:
            assert list((tmp_path / "pending").glob("*.jsonl"))
    assert not list((tmp_path / "pending").iterdir())
    messages = [record.message for record in caplog.records if "does not take" in record.message]
    assert [str(artifact) in message for message in messages] == [True]
    client = MlflowClient(config.tracking_uri)
    runs = client.search_runs(client.get_experiment_by_name("miram").experiment_id)
    assert len(runs) == 2 * MOST_TRIES
    assert {run.info.status for run in runs} == {"FINISHED"}
    assert sum("loss" in run.data.metrics for run in runs) == 1
