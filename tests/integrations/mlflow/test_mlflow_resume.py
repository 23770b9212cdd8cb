"""A training that resumes after an interruption is recorded in the run it had."""

import os
import signal
import subprocess
import sys

import pandas as pd
import pytest
from mlflow import MlflowClient
from mlflow_commands import Recorded, node

from miram.training.checkpointing.folder import TrainingFolder
from miram.training.checkpointing.interruption import TrainingInterrupted
from miram.training.logging.telemetry import log_metrics

STOP = TrainingInterrupted("stopped by SIGTERM", 143)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "training").mkdir()
    return TrainingFolder(tmp_path / "training")


@pytest.fixture
def train(run_command, folder):
    """One command that trains; interrupted, it leaves a state."""

    def run(config, *steps, interrupted=False, history=(), key="training_folder", **params):
        def function(folder, *_):
            for step in steps:
                log_metrics(step, {"loss": 1 / step})
            if interrupted:
                (folder.path / f"step-{9:09d}.pt").write_text("a state")
                raise STOP
            return pd.DataFrame(history)

        inputs = {f"mae.{key}": folder, **{f"params:{name}": params[name] for name in params}}
        run_command(config, node("mae", function, list(inputs), "mae.history"), **inputs)
        return Recorded(config)

    return run


def row(step, **metrics):
    return {"step": step, "epoch": 0, "loss": 1 / step, **metrics}


def test_each_interruption_is_counted_and_the_last_command_is_the_parent(config, train):
    assert train(config, 1, interrupted=True).statuses() == ["KILLED", "KILLED"]
    train(config, 2, interrupted=True)
    found = train(config, 3, history=[row(1), row(2), row(3)])
    [run] = found.runs
    assert found.statuses() == ["KILLED", "KILLED", "FINISHED", "FINISHED"]
    assert run.data.tags["resumed"] == "2"
    assert run.data.tags["mlflow.parentRunId"] == found.commands[-1].info.run_id
    assert found.points(run) == [(1, 1.0), (2, 1 / 2), (3, 1 / 3)]


def test_a_finished_training_is_followed_by_a_run_of_its_own(config, train, folder):
    train(config, 1, history=[row(1)])
    (folder.path / "step-000000001.pt").write_text("of another training")
    found = train(config, 1, history=[row(1)])
    assert len(found.runs) == 2
    assert not any("resumed" in run.data.tags for run in found.runs)


def test_a_training_that_starts_afresh_gets_a_run_of_its_own(config, train):
    train(config, 1, interrupted=True)
    assert len(train(config, 1, history=[row(1)], training={"resume": False}).runs) == 2


@pytest.mark.parametrize("other", [{"hold_out_folds": True}, {"seeds": [0, 1]}])
def test_a_training_for_each_fold_or_seed_does_not_take_the_run_of_one(config, train, other):
    train(config, 1, interrupted=True)
    assert len(train(config, 2, interrupted=True, training=other).runs) == 2
    found = train(config, 3, history=[row(1), row(2), row(3)], training=other)
    assert [run.data.tags.get("resumed") for run in found.runs] == [None, "1"]


def test_an_interruption_among_folds_resumes_in_the_same_run(config, train, folder):
    train(config, 1, interrupted=True)
    next(folder.path.glob("*.pt")).unlink()
    fold = folder.part("fold 1")
    fold.path.mkdir()
    fold.finished.write_text("a result")
    found = train(config, 2, history=[row(1), row(2)])
    assert [run.data.tags["resumed"] for run in found.runs] == ["1"]


def test_steps_that_are_taken_again_are_recorded_once(config, train):
    train(config, 1, 2, 3, 4, interrupted=True)
    steps = (3, 4, 5, 6)  # the state was that after step 2
    found = train(
        config, *steps, history=[row(n, auc=0.5 if n == 6 else None) for n in range(1, 7)]
    )
    assert found.points(found.runs[0]) == [(n, 1 / n) for n in range(1, 7)]
    assert found.points(found.runs[0], "auc") == [(6, 0.5)]


def test_steps_of_every_seed_that_are_missing_are_taken_from_the_history(config, train):
    train(config, 1, interrupted=True)
    history = [row(n, seed=seed) for seed in (3, 5) for n in (1, 2)]
    found = train(config, history=history)
    expected = [(1, 1.0), (2, 0.5)]
    assert found.points(found.runs[0]) == found.points(found.runs[0], "seed5/loss") == expected


@pytest.mark.parametrize("reason", ["another store", "deleted", "another folder"])
def test_a_run_that_cannot_resume_is_followed_by_a_new_one(config, train, folder, reason, tmp_path):
    former = train(config, 1, interrupted=True).runs[0]
    if reason == "another store":
        config = config.model_copy(update={"experiment": "other"})
    elif reason == "deleted":
        MlflowClient(config.tracking_uri).delete_run(former.info.run_id)
    else:
        MlflowClient(config.tracking_uri).set_tag(former.info.run_id, "training_folder", "/other")
    run = train(config, 2, history=[row(1), row(2)]).runs[-1]
    assert run.info.run_id != former.info.run_id
    assert "resumed" not in run.data.tags


COMMAND = """
import os, signal, sys
from pathlib import Path
from kedro.io import DataCatalog
from kedro.pipeline import Node, Pipeline
from miram.integrations.mlflow.hook import MlflowHook
from miram.serving.registry.tracking import MlflowConfig
from miram.training.checkpointing.folder import TrainingFolder
from miram.training.logging.telemetry import log_metrics

hook = MlflowHook()
hook.config = MlflowConfig.model_validate_json(sys.argv[1])
node = Node(print, "mae.training_folder", "mae.history", name="train", namespace="mae")
catalog = DataCatalog()
hook.before_pipeline_run({"run_id": "0000"}, Pipeline([node]), catalog)
folder = TrainingFolder(Path(sys.argv[2]))
hook.before_node_run(node, {"mae.training_folder": folder})
(folder.path / "step-000000002.pt").write_text("a state")
log_metrics(1, {"loss": 1.0})
log_metrics(2, {"loss": 0.5})
hook.store._wait_for_steps()
if sys.argv[3] == "SIGKILL":
    os.kill(os.getpid(), signal.SIGKILL)
raise KeyboardInterrupt
"""


@pytest.mark.parametrize("end", ["SIGKILL", "Ctrl-C"])
def test_a_command_that_is_killed_resumes_in_the_same_run(
    end, config, train, folder, tmp_path, run_command
):
    command = [sys.executable, "-c", COMMAND, config.model_dump_json(), str(folder.path), end]
    run = subprocess.run(command, capture_output=True, text=True, env=os.environ)
    assert run.returncode == (-signal.SIGKILL if end == "SIGKILL" else -signal.SIGINT), run.stderr
    if end == "Ctrl-C":
        assert Recorded(config).statuses() == ["KILLED", "KILLED"]
    found = train(config, 3, history=[row(1), row(2), row(3)])
    assert found.statuses() == ["KILLED", "FINISHED", "FINISHED"]
    assert found.points(found.runs[0]) == [(1, 1.0), (2, 1 / 2), (3, 1 / 3)]
    assert found.commands[0].info.end_time <= found.commands[1].info.start_time
    assert not list((tmp_path / "unfinished").iterdir())
