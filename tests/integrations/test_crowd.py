"""A run says when other programs use its cores, and nothing when they do not."""

import os
import subprocess
import sys
import time

import pytest

from miram.integrations.crowd import Used, crowd, describe

CORES = os.cpu_count() or 1


@pytest.mark.parametrize(
    ("others", "cores", "usable", "longer"),
    [(2.0, 2, 2, "2.0"), (1.0, 2, 2, "1.5"), (128.0, 64, 8, "2.1")],
)
def test_a_crowd_is_named_with_how_much_longer_work_takes(others, cores, usable, longer):
    words = describe(others, cores, usable)
    assert f"keep {others} of {cores} cores busy, so work takes about {longer} times" in words


@pytest.mark.parametrize(
    ("others", "cores", "usable"),
    [(0.1, 2, 2), (30.0, 64, 8)],  # an editor; cores of a large machine that nobody else uses
)
def test_nothing_is_said_where_the_cores_that_a_run_uses_are_free(others, cores, usable):
    assert describe(others, cores, usable) == ""


def test_own_work_is_no_crowd():
    before = Used(moment=0, by_all=100, by_us=10)
    assert crowd(before, Used(moment=2, by_all=100 + 2 * CORES, by_us=10 + 2 * CORES)) == ""
    assert "machine is crowded" in crowd(before, Used(2, by_all=100 + 9 * CORES, by_us=10))


def test_too_short_a_look_says_nothing():
    assert crowd(Used(0, 100, 10), Used(0.1, 200, 10)) == ""


def test_programs_that_never_rest_are_counted():
    before = Used.now()
    never = [sys.executable, "-c", "while True: pass"]
    others = [subprocess.Popen(never) for _ in range(2 * CORES)]
    try:
        time.sleep(2)
        assert "the machine is crowded" in crowd(before, Used.now())
    finally:
        for one in others:
            one.kill()
            one.wait()
