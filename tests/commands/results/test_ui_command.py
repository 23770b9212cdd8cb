import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from contextlib import ExitStack
from functools import partial

import psutil
import pytest
from miram_command import call_miram
from project_paths import PROJECT

from miram.commands.results.ui import HOST, wait_for
from miram.errors import MiramError

run = partial(call_miram, "ui")


def test_a_server_that_stopped_is_named():
    process = subprocess.Popen([sys.executable, "-c", "pass"])
    process.wait()
    with pytest.raises(MiramError, match="stopped"):
        wait_for(f"http://{HOST}:9", process)


def test_a_folder_that_is_not_there_is_no_study(tmp_path, capsys):
    assert run("--data-root", tmp_path / "none") == 1
    assert f"there is no study at {tmp_path}/none" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_port_that_is_taken_is_named_with_the_option_for_another(tmp_path, capsys):
    with socket.create_server((HOST, 0)) as taken:
        port = taken.getsockname()[1]
        assert run("--data-root", tmp_path, "--mlflow-port", 0, "--viz-port", port) == 1
    reported = capsys.readouterr().err
    assert f"port {port} of {HOST} is taken" in reported and "by --viz-port" in reported


@pytest.mark.slow
def test_the_pages_show_the_study_that_is_named_and_end_with_the_command(tmp_path):
    with ExitStack() as stack:
        free = [stack.enter_context(socket.create_server((HOST, 0))) for _ in range(2)]
        mlflow, viz = (str(found.getsockname()[1]) for found in free)
    lesions = tmp_path / "study" / "02_intermediate" / "ingest_audit.csv"
    lesions.parent.mkdir(parents=True)
    lesions.write_text("source,file,code\nphantom,one.dcm,the code of this study\n")
    code = "from miram.commands.app import main; main()"
    command = [sys.executable, "-c", code, "ui", "--data-root", str(tmp_path / "study"), "--json"]
    server = subprocess.Popen(
        [*command, "--mlflow-port", mlflow, "--viz-port", viz],
        cwd=PROJECT,
        env={**os.environ, "DO_NOT_TRACK": "1"},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        reported = json.loads(server.stdout.readline())
        assert reported["mlflow"].startswith(f"http://{HOST}:{mlflow}")
        assert (tmp_path / "study/mlflow/mlflow.db").is_file()
        with urllib.request.urlopen(f"{reported['kedro_viz']}/api/main") as page:
            (audit,) = (node for node in json.load(page)["nodes"] if node["name"] == "ingest_audit")
        with urllib.request.urlopen(f"{reported['kedro_viz']}/api/nodes/{audit['id']}") as page:
            assert json.load(page)["filepath"] == str(lesions)
    finally:
        started = psutil.Process(server.pid).children(recursive=True)
        server.send_signal(signal.SIGTERM)
        assert server.wait(30) == 0
        _, left = psutil.wait_procs(started, timeout=30)
        assert not left
