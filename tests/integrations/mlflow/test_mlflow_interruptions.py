"""The hook against a server process that dies and comes back."""

import json
import logging
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from mlflow import MlflowClient

from miram.integrations.mlflow.config import MlflowConfig
from miram.integrations.mlflow.hook import MlflowHook
from miram.training.checkpointing.folder import TrainingFolder
from miram.training.checkpointing.interruption import TrainingInterrupted
from miram.training.logging.telemetry import log_metrics as tell

FIGURE = {"estimate": 0.6, "lower": 0.5, "upper": 0.7}
METRICS = {"tasks": {"pathology": {"lesions": 9, "patients": 4, "metrics": {"auc": FIGURE}}}}
PICTURE = np.full((4, 6), 7, np.uint8)


class ServerProcess:
    """A real `mlflow server` that can be killed and started again on the same store."""

    def __init__(self, folder):
        self.folder, self.process = folder, None
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.address = f"http://127.0.0.1:{self.port}"

    def start(self):
        if self.process is not None:
            return
        command = [sys.executable, "-m", "mlflow", "server", "--workers", "1"]
        command += ["--backend-store-uri", f"sqlite:///{self.folder}/server.db"]
        command += ["--artifacts-destination", str(self.folder / "artifacts")]
        command += ["--host", "127.0.0.1", "--port", str(self.port)]
        # Seven processes of a job queue would start as well.
        environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        with (self.folder / "server.log").open("a") as log:
            self.process = subprocess.Popen(
                command, stdout=log, stderr=log, env=environment, start_new_session=True
            )
        while True:
            assert self.process.poll() is None, (self.folder / "server.log").read_text()
            try:
                with urllib.request.urlopen(f"{self.address}/health", timeout=5):
                    return
            except OSError:
                time.sleep(0.2)

    def kill(self):
        if self.process is not None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = ServerProcess(tmp_path_factory.mktemp("server"))
    yield server
    server.kill()


@pytest.fixture(autouse=True)
def impatience(monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")


def configuration(address, folder, experiment):
    return MlflowConfig(
        tracking_uri=address,
        experiment=experiment,
        artifacts=str(folder / "mlflow/artifacts"),
        retry_seconds=0.1,
    )


def node(method):
    return SimpleNamespace(namespace=method, name=f"{method}.pretrain_encoder")


def begin(config, **entries):
    catalog = SimpleNamespace(get=lambda name: SimpleNamespace(**entries[name]))
    hook = MlflowHook()
    hook.config = config
    hook.before_pipeline_run({"run_id": "now", "pipeline_names": ["pretrain"]}, catalog)
    return hook


def runs_of(config):
    """The commands' runs in their order, and the methods' runs by method."""
    client = MlflowClient(config.tracking_uri)
    experiment = client.get_experiment_by_name(config.experiment)
    runs = client.search_runs(experiment.experiment_id, order_by=["start_time"])
    commands = [run for run in runs if not run.data.tags["method"]]
    methods = [run for run in runs if run.data.tags["method"]]
    by_method = {run.data.tags["method"]: run for run in methods}
    assert len(by_method) == len(methods)
    return client, commands, by_method


def losses(client, run):
    return [
        (point.step, point.value) for point in client.get_metric_history(run.info.run_id, "loss")
    ]


def last_step(config, method):
    """The last step of a method's training that the server has; 0 without any."""
    client = MlflowClient(config.tracking_uri)
    experiment = client.get_experiment_by_name(config.experiment)
    runs = client.search_runs(experiment.experiment_id) if experiment else []
    trained = [run for run in runs if run.data.tags["method"] == method]
    return max((step for run in trained for step, _ in losses(client, run)), default=0)


def operations(pending):
    """What waits in the only journal of a folder."""
    [journal] = pending.glob("*.jsonl")
    records = [json.loads(line) for line in journal.read_text().splitlines() if line]
    delivered = max((record.get("delivered", 0) for record in records), default=0)
    told = [record for record in records if "operation" in record]
    return [record["operation"] for record in told if record["number"] > delivered]


def warnings(caplog):
    return [record.message for record in caplog.records if record.levelno >= logging.WARNING]


def test_a_server_that_never_comes_gets_everything_at_the_next_command(server, tmp_path, caplog):
    caplog.set_level(logging.INFO, logger="miram.integrations")
    server.kill()
    config = configuration(server.address, tmp_path, "away from the start")
    folder = TrainingFolder(tmp_path / "training")
    history = tmp_path / "history.csv"
    history.write_text("step,loss\n")
    entries = {
        "metrics": {"metadata": {"mlflow": {"log": "metrics"}}},
        "history": {"metadata": {"mlflow": {"log": "artifact"}}, "_filepath": history},
    }
    before = time.time() * 1000
    hook = begin(config, **entries)
    hook.before_node_run(node("mae"), {"params:epochs": 1, "mae.training_folder": folder})
    for step in range(1, 2001):
        tell(step, {"loss": 1 / step}, {"sheet": PICTURE} if step == 2000 else {})
    hook.after_dataset_saved("metrics", METRICS, node("mae"))
    hook.after_dataset_saved("history", None, node("mae"))
    error = TrainingInterrupted("stopped by SIGTERM", 143)
    folder.path.mkdir()
    (folder.path / "step-000002000.pt").write_text("a state")
    hook.on_node_error(error, node("mae"))
    hook.on_pipeline_error(error)
    after = time.time() * 1000

    assert [server.address in message for message in warnings(caplog)] == [True]
    kept = operations(tmp_path / "mlflow/pending")
    metrics = [item["values"] for item in kept if item["kind"] == "metrics"]
    assert metrics[:2000] == [{"step": n, "metrics": {"loss": 1 / n}} for n in range(1, 2001)]
    assert metrics[2000]["metrics"]["pathology.auc"] == 0.6
    assert not folder.tracker_note.exists()

    server.start()
    hook = begin(config)
    hook.before_node_run(node("mae"), {"mae.training_folder": folder})
    tell(2001, {"loss": 0.0})
    hook.after_node_run()
    hook.after_pipeline_run()
    assert "records of earlier commands are sent first" in caplog.text
    assert len(warnings(caplog)) == 1
    client, (first, second), methods = runs_of(config)
    mae = methods["mae"]
    assert set(methods) == {"mae"}
    assert [run.info.status for run in (first, mae, second)] == ["KILLED", "FINISHED", "FINISHED"]
    assert before <= first.info.start_time <= mae.info.start_time <= first.info.end_time <= after
    assert second.info.start_time > after
    assert mae.data.tags["mlflow.parentRunId"] == second.info.run_id
    assert mae.data.tags["resumed"] == "1"
    assert mae.data.params == {"epochs": "1"}
    assert mae.data.metrics["pathology.auc"] == 0.6
    assert losses(client, mae) == [(n, 1 / n) for n in range(1, 2001)] + [(2001, 0.0)]
    told = [point.timestamp for point in client.get_metric_history(mae.info.run_id, "loss")]
    assert told == sorted(told)
    assert before <= told[0] <= told[1999] <= after < told[2000]
    assert [item.path for item in client.list_artifacts(mae.info.run_id)] == [
        "history.csv",
        "images",
    ]
    pictures = [item.path for item in client.list_artifacts(mae.info.run_id, "images")]
    assert {path.split("+")[2] for path in pictures} == {"2000"}
    assert not list((tmp_path / "mlflow/pending").iterdir())


def test_a_server_killed_in_the_middle_and_started_again_misses_nothing(server, tmp_path, caplog):
    caplog.set_level(logging.INFO, logger="miram.integrations")
    server.start()
    config = configuration(server.address, tmp_path, "killed in the middle")
    artifact = tmp_path / "encoder.safetensors"
    artifact.write_bytes(b"weights")
    entry = {"metadata": {"mlflow": {"log": "artifact"}}, "_filepath": artifact}
    hook = begin(config, encoder=entry)
    hook.before_node_run(node("mae"), {"params:epochs": 3})
    for step in range(1, 400):
        if step == 200:
            while last_step(config, "mae") < 100:
                time.sleep(0.05)
            server.kill()  # wherever the sender is by then
        tell(step, {"loss": float(step)})
    hook.after_node_run()
    hook.before_node_run(node("random"), {"params:epochs": 3})
    tell(400, {"loss": 0.5}, {"sheet": PICTURE})
    hook.after_node_run()
    hook.after_dataset_saved("encoder", None, node("random"))
    while not warnings(caplog):  # the sender has found out
        time.sleep(0.01)
    server.start()
    tell(401, {"loss": 0.25})
    while last_step(config, "random") < 401:
        time.sleep(0.05)
    client, (parent,), methods = runs_of(config)
    assert set(methods) == {"mae", "random"}
    mae, random = methods["mae"], methods["random"]
    assert losses(client, mae) == [(n, float(n)) for n in range(1, 400)]
    assert losses(client, random) == [(400, 0.5), (401, 0.25)]
    for child in (mae, random):
        assert child.data.tags["mlflow.parentRunId"] == parent.info.run_id
        assert child.data.params == {"epochs": "3"}
    assert [item.path for item in client.list_artifacts(random.info.run_id)] == [
        "encoder.safetensors",
        "images",
    ]
    assert "answers again" in caplog.text
    server.kill()
    tell(402, {"loss": 0.125})
    hook.after_pipeline_run()
    left = operations(tmp_path / "mlflow/pending")
    assert [item["kind"] for item in left] == ["metrics", "end", "end", "end"]
    assert left[0]["values"] == {"step": 402, "metrics": {"loss": 0.125}}
    assert len(warnings(caplog)) == 1


def test_a_server_that_hangs_is_not_asked_at_every_step(tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    with socket.socket() as hangs:
        hangs.bind(("127.0.0.1", 0))
        hangs.listen(1000)
        address = f"http://127.0.0.1:{hangs.getsockname()[1]}"
        config = configuration(address, tmp_path, "x").model_copy(update={"retry_seconds": 30.0})
        hook = begin(config)
        hook.before_node_run(node("mae"), {})
        for step in range(500):
            tell(step, {"loss": 1.0})
        hook.after_pipeline_run()
        hangs.setblocking(False)
        calls = 0
        while True:
            try:
                hangs.accept()[0].close()
            except BlockingIOError:
                break
            calls += 1
    # The first record, whether the server answers at all, and once more at the end.
    assert calls == 3
    assert len(warnings(caplog)) == 1
    kinds = [item["kind"] for item in operations(tmp_path / "mlflow/pending")]
    assert kinds == ["open", "open", *["metrics"] * 500, "end", "end"]


COMMAND = """
import os, signal, sys, time
from pathlib import Path
from types import SimpleNamespace
from miram.integrations.mlflow.config import MlflowConfig
from miram.integrations.mlflow.hook import MlflowHook
from miram.training.checkpointing.folder import TrainingFolder
from miram.training.logging.telemetry import log_metrics as tell

hook = MlflowHook()
hook.config = MlflowConfig.model_validate_json(sys.argv[1])
hook.before_pipeline_run({"run_id": "now"}, None)
folder = TrainingFolder(Path(sys.argv[2]))
hook.before_node_run(SimpleNamespace(namespace="mae"), {"mae.training_folder": folder})
folder.path.mkdir(parents=True, exist_ok=True)
(folder.path / "step-000000002.pt").write_text("a state")
tell(1, {"loss": 1.0})
tell(2, {"loss": 0.5})
while len(hook.tracker.sender):
    time.sleep(0.01)
tell(3, {"loss": 0.25})
if sys.argv[3] == "SIGKILL":
    os.kill(os.getpid(), signal.SIGKILL)
raise KeyboardInterrupt
"""


@pytest.mark.parametrize("end", ["SIGKILL", "Ctrl-C"])
def test_a_command_that_is_killed_goes_on_in_the_same_run(end, tmp_path, caplog):
    config = MlflowConfig(
        tracking_uri=f"sqlite:///{tmp_path}/mlflow/mlflow.db",
        artifacts=str(tmp_path / "mlflow/artifacts"),
    )
    folder = TrainingFolder(tmp_path / "training")
    command = [sys.executable, "-c", COMMAND, config.model_dump_json(), str(folder.path), end]
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode == (-signal.SIGKILL if end == "SIGKILL" else -signal.SIGINT), run.stderr
    assert json.loads(folder.tracker_note.read_text())["tracking_uri"] == config.tracking_uri
    if end == "Ctrl-C":
        _, (parent,), methods = runs_of(config)
        assert (parent.info.status, methods["mae"].info.status) == ("KILLED", "KILLED")
    hook = begin(config)
    hook.before_node_run(node("mae"), {"mae.training_folder": folder})
    tell(4, {"loss": 0.1})
    hook.after_node_run()
    hook.after_pipeline_run()
    client, (former, parent), methods = runs_of(config)
    mae = methods["mae"]
    assert [run.info.status for run in (former, mae, parent)] == ["KILLED", "FINISHED", "FINISHED"]
    assert mae.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert losses(client, mae) == [(1, 1.0), (2, 0.5), (3, 0.25), (4, 0.1)]
    assert former.info.end_time <= parent.info.start_time
    assert not warnings(caplog)
    assert not folder.tracker_note.exists()
    assert not list(Path(config.pending).iterdir())
