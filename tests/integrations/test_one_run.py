"""Two runs never work in one data_root at the same time."""

import platform
import subprocess
import sys

import pytest
from click.testing import CliRunner
from kedro.framework.startup import bootstrap_project
from project_paths import PROJECT

from miram.cli import cli
from miram.errors import MiramError
from miram.integrations.one_run import hold

HOLD = """
import sys, time
from pathlib import Path
from miram.integrations.one_run import hold
lock = hold(Path(sys.argv[1]))
print("held", flush=True)
time.sleep(600)
"""


@pytest.fixture
def other_run(tmp_path):
    """Another process that holds the data_root."""
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_a_second_run_is_told_who_is_at_work_and_how_to_go_on(other_run, tmp_path, monkeypatch):
    monkeypatch.chdir(PROJECT)
    bootstrap_project(PROJECT)
    before = sorted(tmp_path.rglob("*"))
    command = ["run", "--pipeline", "phantom", "--env", "test", "--params"]
    done = CliRunner().invoke(cli, [*command, f"data_root={tmp_path}"])
    assert done.exit_code == 1
    assert f"process {other_run.pid} on {platform.node()}, since 2" in done.output
    assert "--params data_root=..." in done.output
    assert sorted(tmp_path.rglob("*")) == before


def test_what_a_killed_run_held_is_free(other_run, tmp_path):
    other_run.kill()
    other_run.wait()
    lock = hold(tmp_path)
    assert lock.is_locked
    lock.release()


def test_a_data_root_is_free_again_after_a_run(tmp_path):
    hold(tmp_path).release()
    lock = hold(tmp_path)
    with pytest.raises(MiramError, match="another run is at work"):
        hold(tmp_path)
    lock.release()


def test_other_data_roots_are_free(other_run, tmp_path):
    lock = hold(tmp_path / "another")
    assert lock.is_locked
    lock.release()
