"""A run that is killed, wherever it is, is repeated by the same command."""

import os
import random
import signal
import subprocess
import sys
import time


def start(project, root):
    command = [sys.executable, "-m", "kedro", "run", "--env", "test", "--pipeline", "phantom"]
    return subprocess.Popen(
        [*command, "--params", f"data_root={root},phantom.patients=6"],
        cwd=project,
        env={**os.environ, "DO_NOT_TRACK": "1"},
        stdout=subprocess.DEVNULL,  # a worker that outlives it for a while would hold a pipe
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def kill_once(process, reached):
    while not reached() and process.poll() is None:
        time.sleep(0.002)
    os.killpg(process.pid, signal.SIGKILL)  # with the processes that it started
    assert process.wait() == -signal.SIGKILL


def bytes_of(path):
    """A file's size in bytes, -1 once the running command has removed it."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return -1


def made(root, pattern, count, size=0):
    """Whether so many files of a name are there, each of so many bytes."""
    return sum(bytes_of(path) >= size for path in root.rglob(pattern)) >= count


def test_a_killed_run_can_be_repeated(project, tmp_path):
    draw = random.Random(1)
    size, images = draw.randrange(1, 300_000), draw.randrange(1, 12)
    kill_once(start(project, tmp_path), lambda: made(tmp_path, "*mlflow.db*", 1, size))
    kill_once(start(project, tmp_path), lambda: made(tmp_path, "*.dcm", images))
    assert start(project, tmp_path).wait() == 0
    written = {path.relative_to(tmp_path) for path in (tmp_path / "01_raw").rglob("*.*")}
    assert not [path for path in written if path.name.startswith(".") and path.suffix]
