"""What is set, and what is not yet loaded, when miram starts."""

import os
import platform
import subprocess
import sys

import pytest

_WAITS = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
_ASK = f"import os, miram; print([os.environ.get(name) for name in {_WAITS}])"
_ASK_SPAWNED = f"""
import multiprocessing, os
import miram
if __name__ == "__main__":
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        print(pool.map(os.getenv, {_WAITS}))
"""


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({}, ["passive", "10000"]),
        ({"OMP_WAIT_POLICY": "active"}, ["active", None]),
        ({"GOMP_SPINCOUNT": "5"}, [None, "5"]),
    ],
)
def test_threads_wait_a_little_and_then_sleep_unless_the_user_wants_otherwise(before, after):
    assert _fresh_process("-c", _ASK, **before) == str(after)


def test_spawned_workers_wait_alike(tmp_path):
    (tmp_path / "ask.py").write_text(_ASK_SPAWNED)
    assert _fresh_process(tmp_path / "ask.py") == "['passive', '10000']"


@pytest.mark.parametrize(
    ("before", "after"),
    [((700, 10, 10), (50_000, 20, 50)), ((90_000, 5, 5), (90_000, 5, 5)), ((0, 5, 5), (0, 5, 5))],
)
def test_garbage_is_looked_for_rarely_unless_the_user_wants_otherwise(before, after):
    ask = f"import gc; gc.set_threshold(*{before}); import miram; print(gc.get_threshold())"
    assert _fresh_process("-c", ask) == str(after)


_CLEARED = """
import resource
import miram

def cleared():  # pages that the system gave, and cleared before
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

before, size = cleared(), 24 * 2**20
for _ in range(10):
    [b"x" * size for _ in range(4)]
print(cleared() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries have no settings")
def test_memory_of_arrays_is_used_again_unless_the_user_has_set_how():
    ours, users = (
        int(_fresh_process("-c", _CLEARED, **by)) for by in ({}, {"MALLOC_ARENA_MAX": "8"})
    )
    assert ours < users / 4


def test_describing_a_model_loads_nothing_that_only_some_trainings_need():
    ask = (
        "import sys, miram.models.methods.kinds, miram.training.loop;"
        "print([name for name in ('kornia', 'ray', 'mlflow', 'matplotlib') if name in sys.modules])"
    )
    assert _fresh_process("-c", ask) == "[]"


def _fresh_process(*arguments, **variables):
    environment = {name: value for name, value in os.environ.items() if name not in _WAITS}
    run = subprocess.run(
        [sys.executable, *arguments],
        env=environment | variables,
        capture_output=True,
        text=True,
        check=True,
    )
    return run.stdout.strip()
