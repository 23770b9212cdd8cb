import socket
import subprocess
import sys
from contextlib import ExitStack

import pytest
from project_paths import PROJECT

from miram.errors import MiramError
from miram.integrations.ui import HOST, free_port, start, start_mlflow, wait_for


def test_a_taken_port_is_passed_over():
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert free_port(port) > port


def test_a_server_that_stopped_is_named():
    process = subprocess.Popen([sys.executable, "-c", "pass"])
    process.wait()
    with pytest.raises(MiramError, match="stopped"):
        wait_for(f"http://{HOST}:9", process)


def test_a_server_that_runs_ends_where_the_next_one_cannot_start(tmp_path):
    begun = []

    def runs(project):
        begun.append(subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE))
        return f"http://{HOST}:9", begun[0]

    def fails(project):
        raise MiramError(f"nothing to serve in {project}")

    with pytest.raises(MiramError, match="nothing to serve"), ExitStack() as stack:
        start(tmp_path, stack, [runs, fails])
    try:
        assert begun[0].poll() is not None
    finally:
        begun[0].kill()


def test_for_a_tracking_server_elsewhere_no_process_is_started(tmp_path):
    (tmp_path / "src").mkdir()
    (tmp_path / "conf/local").mkdir(parents=True)
    (tmp_path / "pyproject.toml").symlink_to(PROJECT / "pyproject.toml")
    (tmp_path / "conf/base").symlink_to(PROJECT / "conf/base")
    (tmp_path / "conf/local/mlflow.yml").write_text("tracking_uri: http://mlflow.invalid:5000\n")
    with ExitStack() as stack:
        servers = start(tmp_path, stack, [start_mlflow])
    assert servers == [("http://mlflow.invalid:5000", None)]
