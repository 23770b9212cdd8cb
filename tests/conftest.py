"""Fixtures for all tests: the real data where it is at hand, and a small phantom."""

import gc
import os
import random
import shutil
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock
from hypothesis import HealthCheck, settings
from miram_command import run_kedro
from project_paths import PROJECT, SHARED_DATA

# Several test processes share the cores; threads that wait for each other would stall all.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from miram.mammography.phantom import PhantomConfig, phantom_files

# No test fails because the machine is busy.
settings.register_profile(
    "untimed", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("untimed")

TINY_PHANTOM = PhantomConfig(patients=16, image_size=512, seed=3)


# Trainings, servers, workers, real file lists and whole studies; what else needs a study is slow
# by its fixture, single tests by their marker.
SLOW = (
    "benchmarks",
    "browser",
    "commands/methods/test_benchmark_command.py",
    "evaluation/test_controls.py",
    "faults",
    "finetuning",
    "integrations/mlflow",
    "mammography/sources/cbis_ddsm/test_roles_answer_key.py",
    "models/export",
    "pipelines",
    "serving",
    "training/checkpointing",
    "training/distributed",
    "training/test_activation_checkpointing.py",
    "training/test_bad_conditions.py",
    "training/test_gpu_readiness.py",
    "training/test_half_precision.py",
    "training/test_pretrain.py",
    "training/test_supervised_training.py",
    "test_additions.py",
    "test_docs.py",
)


# Started first, so that no process waits for another's long file at the end. The very first needs
# no study: while one process runs that of `finished_project`, the other has something to do.
LONG = (
    "training/distributed/test_on_ray.py",
    "pipelines",
    "integrations/mlflow",
    "training",
    "test_",
    "finetuning",
    "browser",
)


def pytest_ignore_collect(collection_path, config):
    """Do not even import files whose tests would all be left out."""
    if "not slow" in config.option.markexpr and _place(collection_path).startswith(SLOW):
        return True


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: _rank(_place(item.path)))
    for item in items:
        if _place(item.path).startswith(SLOW) or "finished_project" in item.fixturenames:
            item.add_marker(pytest.mark.slow)


def pytest_collection_finish():
    """Keep imported modules out of garbage collection: statsmodels collects at each correction."""
    gc.freeze()


def pytest_unconfigure():
    gc.unfreeze()


def _rank(place):
    return next((rank for rank, start in enumerate(LONG) if place.startswith(start)), len(LONG))


def _place(path):
    return path.relative_to(PROJECT / "tests").as_posix()


@pytest.fixture(autouse=True)
def every_draw_is_seeded():
    """Every draw without a generator of its own is the same in every run, in any order of tests."""
    random.seed(0)
    np.random.seed(0)
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)


@pytest.fixture(scope="session")
def made_once(tmp_path_factory, worker_id):
    """Maker of a folder that all test processes read: `made_once(name, make)`."""
    base = tmp_path_factory.getbasetemp()
    base = base if worker_id == "master" else base.parent

    def made(name, make):
        folder, finished = base / name, base / f"{name}.finished"
        with FileLock(base / f"{name}.lock"):
            if not finished.exists():
                shutil.rmtree(folder, ignore_errors=True)
                make(folder)
                finished.touch()
        return folder

    return made


@pytest.fixture(scope="session")
def finished_project(made_once):
    """A project of its own after `kedro run`; not to be written to.

    Its configuration is that of this checkout, its data and the status of its run are its own.
    """
    return made_once("finished_project", run_study)


def run_study(folder: Path) -> None:
    (folder / "src").mkdir(parents=True)  # Kedro looks for it; the package is installed
    for name in ("conf", "pyproject.toml"):
        (folder / name).symlink_to(PROJECT / name)
    run = run_kedro("run", "--env", "test", folder=folder)
    assert run.returncode == 0, run.stdout[-4000:] + run.stderr[-4000:]


@pytest.fixture
def heeds_ctrl_c():
    """SIGINT does what it does in a terminal: a shell starts background jobs that ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 1 MiB, or no test."""
    yield from _mounted(tmp_path / "small", "size=1m")


@pytest.fixture
def read_only_disk(tmp_path):
    """A file system that takes no files, or no test."""
    yield from _mounted(tmp_path / "closed", "ro")


def _mounted(folder, options):
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder]
    if subprocess.run(command, capture_output=True).returncode:
        pytest.skip("no permission to mount a small file system")
    yield folder
    # Lazily: what a failed write has mapped may be held by its traceback for a while.
    subprocess.run(["umount", "-l", folder], check=True)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of the real data; tests that need it are skipped where it is absent."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"the real data is not at {SHARED_DATA}")
    return SHARED_DATA


@pytest.fixture(scope="session")
def tiny_phantom(made_once) -> Path:
    """Raw folder of a phantom of 16 patients; not to be written to."""
    return made_once("tiny_phantom", partial(write_phantom, TINY_PHANTOM))


@pytest.fixture(scope="session")
def write_phantom_files():
    """Writer of a phantom for tests that need one of their own."""
    return write_phantom


def write_phantom(config: PhantomConfig, folder: Path) -> Path:
    for name, content in phantom_files(config):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


@pytest.fixture(scope="session")
def sample():
    """Maker of a sample: `sample(patients, signal=..., strategy=..., seed=...)`."""
    from sample_lesions import make_sample

    return make_sample
