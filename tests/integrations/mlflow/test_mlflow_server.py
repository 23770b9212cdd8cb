"""The hook against a server that dies, hangs and comes back."""

import logging
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from mlflow_commands import METRICS, Recorded, make_config, node
from PIL import Image

from miram.integrations.datasets.files import TextFile
from miram.models.methods import BASELINES
from miram.reporting.charts.images import data_uri
from miram.training.logging.telemetry import log_metrics


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


def make_server_config(server, folder, experiment):
    config = make_config(server.address, folder, experiment=experiment)
    return config.model_copy(update={"artifacts": None})


def training(steps, before=None):
    """Train so many steps; `before` is called before the one it names."""

    def train(*_):
        for step in range(1, steps + 1):
            if before and step == before[0]:
                before[1]()
            log_metrics(step, {"loss": 1 / step})
        return pd.DataFrame(
            {"step": range(1, steps + 1), "loss": [1 / n for n in range(1, steps + 1)]}
        )

    return train


def expected(steps):
    return [(n, pytest.approx(1 / n)) for n in range(1, steps + 1)]


def warnings(caplog):
    found = [record for record in caplog.records if record.levelno >= logging.WARNING]
    return [record.message for record in found if record.name != "kedro.runner.sequential_runner"]


def test_a_server_that_is_away_gets_everything_with_the_next_command(
    server, tmp_path, caplog, run_command
):
    server.kill()
    config = make_server_config(server, tmp_path, "away from the start")
    before = time.time() * 1000
    nodes = [
        node("mae", training(2000), "params:x", "mae.history"),
        node("mae", lambda _: METRICS, "mae.history", "mae.metrics"),
    ]
    assert run_command(config, *nodes, **{"params:x": {"epochs": 1}}).error is None
    after = time.time() * 1000
    assert [server.address in message for message in warnings(caplog)] == [True]
    [note] = (tmp_path / "unfinished").glob("*.json")

    server.start()
    assert run_command(config, node("random", training(1))).error is None
    assert len(warnings(caplog)) == 1
    found = Recorded(config)
    first, second = found.commands
    mae = found.by_method["mae"]
    assert set(found.statuses()) == {"FINISHED"}
    assert before <= first.info.start_time <= mae.info.start_time <= mae.info.end_time <= after
    assert second.info.start_time > after
    assert mae.data.tags["mlflow.parentRunId"] == first.info.run_id
    assert mae.data.params == {"x.epochs": "1"}
    assert mae.data.metrics["pathology.auc"] == 0.6
    assert found.points(mae) == expected(2000)
    assert found.files(mae) == ["mae.csv"]
    assert not note.exists()


def test_a_server_that_dies_and_returns_misses_nothing_at_the_end_of_the_command(
    server, tmp_path, caplog, run_command
):
    server.start()
    config = make_server_config(server, tmp_path, "killed in the middle")

    def kill():
        time.sleep(3)  # the first steps have arrived
        server.kill()

    def look(*_):
        server.start()
        return 1

    nodes = [
        node("mae", training(400, (200, kill)), None, "mae.history"),
        node("mae", lambda _: METRICS, "mae.history", "mae.metrics"),
        node("", look, "mae.metrics", "started"),
        node("miram_nystrom", training(3), "started", "miram_nystrom.history"),
    ]
    assert run_command(config, *nodes).error is None
    assert len(warnings(caplog)) == 1
    found = Recorded(config)
    [parent] = found.commands
    assert set(found.statuses()) == {"FINISHED"}
    for method, steps in (("mae", 400), ("miram_nystrom", 3)):
        run = found.by_method[method]
        assert found.points(run) == expected(steps)
        assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert found.by_method["mae"].data.metrics["pathology.auc"] == 0.6
    assert not list((tmp_path / "unfinished").glob("*.json"))


def test_a_server_that_hangs_delays_a_command_once_and_not_at_every_step_or_method(
    tmp_path, monkeypatch, caplog, run_command
):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    with socket.socket() as hangs:
        hangs.bind(("127.0.0.1", 0))
        hangs.listen(1000)
        config = make_config(f"http://127.0.0.1:{hangs.getsockname()[1]}", tmp_path)
        began = time.monotonic()
        others = [node(name, training(1), None, f"{name}.history") for name in BASELINES]
        run_command(config, node("mae", training(500), None, "mae.history"), *others)
        assert time.monotonic() - began < 30
        hangs.setblocking(False)
        calls = 0
        while True:
            try:
                hangs.accept()[0].close()
            except BlockingIOError:
                break
            calls += 1
    # At the start, for the run of the command and of the first method, and once more at the end.
    assert calls <= 4
    assert len(warnings(caplog)) == 1
    assert len(list((tmp_path / "unfinished").glob("*.json"))) == 1


@pytest.mark.parametrize("images", [False, True])
def test_pixels_of_patients_go_to_a_server_only_if_asked(
    server, tmp_path, catalog, run_command, images
):
    server.start()
    config = make_server_config(server, tmp_path, f"images {images}")
    config = config.model_copy(update={"images": images})
    asked = {"mlflow": {"log": "artifact"}}
    catalog["report"] = TextFile(str(tmp_path / "report.html"), metadata=asked)
    picture = data_uri(Image.new("L", (40, 30), 9))
    page = f'<p>AUC 0.6</p><img src="{picture}" alt="crops"><img src="{picture}">'

    def train():
        log_metrics(1, {"loss": 0.5}, {"reconstructions": np.zeros((4, 6, 3), np.uint8)})
        return 1

    run_command(config, node("mae", train), node("", lambda _: page, "mae.out", "report"))
    found = Recorded(config)
    assert bool(found.files(found.by_method["mae"], "images")) is images
    [command] = found.commands
    sent = found.client.download_artifacts(command.info.run_id, "report.html", str(tmp_path))
    without = '<p>AUC 0.6</p><img src="data:," alt="crops"><img src="data:,">'
    assert Path(sent).read_text() == (page if images else without)


def test_what_another_command_has_not_finished_is_left_to_it(config, run_command, tmp_path):
    def look():
        inner = run_command(config, node("random", lambda: 1))
        assert inner.error is None
        return Recorded(config).by_method["mae"].info.status

    outer = node("mae", look, None, "mae.status")
    run_command(config, outer)
    assert set(Recorded(config).statuses()) == {"FINISHED"}
