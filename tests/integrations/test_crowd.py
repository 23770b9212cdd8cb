"""A run says when other programs use its cores, and nothing when they do not."""

import os
import subprocess
import sys

import pytest
from joblib import cpu_count
from miram_command import run_kedro
from project_paths import PROJECT

from miram.integrations.crowd import describe

CORES = os.cpu_count() or 1


@pytest.mark.parametrize(
    ("others", "cores", "usable", "longer"),
    [(2.0, 2, 2, "2.0"), (1.0, 2, 2, "1.5"), (64.0, 64, 32, "1.5")],
)
def test_a_crowd_is_named_with_how_much_longer_work_takes(others, cores, usable, longer):
    words = describe(others, cores, usable)
    assert f"keep {others} of {cores} cores busy" in words
    assert f"takes about {longer} times as long" in words


@pytest.mark.parametrize(
    ("others", "cores", "usable"),
    [(0.1, 2, 2), (30.0, 64, 8)],  # an editor; cores of a large machine that nobody else uses
)
def test_nothing_is_said_where_the_cores_that_a_run_uses_are_free(others, cores, usable):
    assert describe(others, cores, usable) == ""


@pytest.mark.slow
@pytest.mark.skipif(cpu_count() < CORES, reason="a quota keeps the programs here from using all")
def test_a_run_beside_programs_that_never_rest_says_so_once(tmp_path):
    never = [sys.executable, "-c", "while True: pass"]
    others = [subprocess.Popen(never) for _ in range(2 * CORES)]
    try:
        settings = f"data_root={tmp_path},phantom.patients=10,phantom.image_size=256"
        run = run_kedro("run", "--pipeline", "phantom", "--params", settings, folder=PROJECT)
    finally:
        for one in others:
            one.kill()
            one.wait()
    assert run.returncode == 0, run.stderr
    assert (run.stdout + run.stderr).count("the machine is crowded") == 1
