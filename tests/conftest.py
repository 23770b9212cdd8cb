"""Fixtures for all tests: the real data where it is at hand, and a small phantom."""

import os
from pathlib import Path

import pytest

# Several test processes share the cores; threads that wait for each other would stall all.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from miram.mammography.phantom import PhantomConfig, phantom_files

SHARED_DATA = Path(__file__).parents[1].parent / "shared" / "data"
TINY_PHANTOM = PhantomConfig(patients=16, image_side=512, seed=3)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of the real data; tests that need it are skipped where it is absent."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"the real data is not at {SHARED_DATA}")
    return SHARED_DATA


@pytest.fixture(scope="session")
def tiny_phantom(tmp_path_factory) -> Path:
    """Raw folder of a phantom of 16 patients; not to be written to."""
    return write_phantom(TINY_PHANTOM, tmp_path_factory.mktemp("tiny_phantom"))


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
