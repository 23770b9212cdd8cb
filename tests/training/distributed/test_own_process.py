"""Trainings in processes of their own: the same results, heard and stopped like others."""

import contextlib
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest
import torch

from miram.errors import MiramError
from miram.training.checkpointing.interruption import (
    Interruption,
    TrainingInterrupted,
    ask_to_stop,
    passing_signals_on,
)
from miram.training.distributed.cluster import EngineConfig
from miram.training.distributed.launch import launch, launch_on_cores
from miram.training.logging.telemetry import LOGGER, log_metrics

TWO = EngineConfig(parallel_methods=2)


def facts(number, *, text):
    log_metrics(3, {"loss": 0.5})
    logging.getLogger("miram.x").warning("hello from %s", text)
    return {"number": number, "pid": os.getpid(), "threads": torch.get_num_threads()}


def where():
    return os.getpid(), set(sys.modules)


def never_done(started):
    started.write_text(str(os.getpid()))
    time.sleep(600)


def refused():
    raise MiramError("there is no such crop")


class Unpicklable(Exception):
    def __init__(self, first, second):
        super().__init__(f"{first} {second}")


def failed():
    raise Unpicklable("out of", "paper")


def killed():
    os.kill(os.getpid(), signal.SIGKILL)


def until_stopped(started):
    with Interruption() as interruption:
        started.touch()
        while not interruption.signal:
            log_metrics(1, {"loss": 0.5})
            time.sleep(0.02)
        raise interruption.stop(1, 2, "the same command")


class Heard(logging.Handler):
    def __init__(self):
        super().__init__()
        self.records = []

    def emit(self, record):
        self.records.append((threading.get_ident(), record))


def test_a_function_runs_elsewhere_and_is_heard_on_the_calling_thread(caplog):
    heard = Heard()
    LOGGER.addHandler(heard)
    try:
        found = launch(facts, 7, text="there", engine=TWO)
    finally:
        LOGGER.removeHandler(heard)
    assert found["number"] == 7 and found["pid"] != os.getpid()
    assert found["threads"] == TWO.threads
    [(thread, record)] = heard.records
    assert (thread, record.step, record.metrics) == (threading.get_ident(), 3, {"loss": 0.5})
    assert "hello from there" in caplog.text


@pytest.mark.parametrize("engine", [EngineConfig(), EngineConfig(kind="ray", parallel_methods=2)])
def test_work_for_the_cores_stays_here_where_nothing_runs_beside_it(engine):
    assert launch_on_cores(os.getpid, engine=engine) == os.getpid()


IMPORTED = """
import sys
sys.path.insert(0, sys.argv[1])
from test_own_process import TWO, launch_on_cores, where
there, modules = launch_on_cores(where, engine=TWO)
missing = {"torch", "timm", "kornia.enhance", "miram.training.pretrain"} - modules
print(there != os.getpid(), missing)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere processes are not forked")
def test_work_beside_other_work_finds_what_takes_seconds_imported():
    run = [sys.executable, "-c", f"import os{IMPORTED}", Path(__file__).parent]
    assert subprocess.check_output(run, text=True).strip() == "True set()"


def test_an_error_arrives_as_it_is():
    with pytest.raises(MiramError, match="there is no such crop"):
        launch(refused, engine=TWO)


LEFT_ALONE = """
import os, sys, threading, time
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from test_own_process import TWO, launch_on_cores, never_done
started = Path(sys.argv[1])

def die():
    while not started.exists() or not started.read_text():
        time.sleep(0.05)
    os._exit(9)

threading.Thread(target=die).start()
launch_on_cores(never_done, started, engine=TWO)
"""


def test_work_ends_with_a_command_that_is_killed(tmp_path):
    started = tmp_path / "pid"
    arguments = [sys.executable, "-c", LEFT_ALONE, started, Path(__file__).parent]
    assert subprocess.run(arguments, timeout=120).returncode == 9
    with contextlib.suppress(psutil.NoSuchProcess):  # it has ended
        psutil.Process(int(started.read_text())).wait(timeout=30)


def test_work_that_does_not_listen_to_signals_ends_as_the_command_does(tmp_path):
    started = tmp_path / "pid"

    def ask():
        while not started.exists() or not started.read_text():
            time.sleep(0.05)
        os.kill(int(started.read_text()), signal.SIGTERM)  # as where all processes are told
        ask_to_stop(signal.SIGTERM)

    with passing_signals_on():
        threading.Thread(target=ask).start()
        with pytest.raises(TrainingInterrupted, match="stopped by SIGTERM"):
            launch_on_cores(never_done, started, engine=TWO)


def test_a_long_name_of_the_temporary_folder_is_no_obstacle(tmp_path):
    folder = tmp_path / ("long" * 30)
    folder.mkdir()
    code = (
        "import os; from miram.training.distributed.launch import launch, EngineConfig; "
        "print(launch(os.getpid, engine=EngineConfig(parallel_methods=2)) != os.getpid())"
    )
    found = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "TMPDIR": str(folder)},
        capture_output=True,
        text=True,
    )
    assert found.stdout.strip() == "True", found.stderr


def test_an_error_that_cannot_be_pickled_arrives_in_words():
    with pytest.raises(RuntimeError, match="Unpicklable: out of paper"):
        launch(failed, engine=TWO)


def test_a_killed_process_is_reported_with_what_to_do():
    with pytest.raises(MiramError, match=r"exit code -9.*engine\.parallel_methods=1"):
        launch(killed, engine=TWO)


def test_a_signal_to_the_command_ends_the_training_after_its_step(tmp_path):
    started = tmp_path / "started"

    def ask():
        while not started.exists():
            time.sleep(0.05)
        ask_to_stop(signal.SIGTERM)

    with passing_signals_on():
        threading.Thread(target=ask).start()
        with pytest.raises(TrainingInterrupted, match="SIGTERM after step 1 of 2") as caught:
            launch(until_stopped, started, engine=TWO)
    assert caught.value.exit_code == 128 + signal.SIGTERM
