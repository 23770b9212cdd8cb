"""Two processes share the steps of a training and end where one ends."""

import os
import subprocess
import sys

import pytest
import torch
from project_paths import PROJECT
from tiny import ENCODER, METHOD
from two_workers import Spoiled

from miram.training.nonfinite import load_step, take_again

HELPERS = PROJECT / "tests/helpers"


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """Results of all trainings: one process imports PyTorch and forks the others."""
    folder = tmp_path_factory.mktemp("workers")
    paths = [str(HELPERS), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    code = "import two_workers; two_workers.main()"
    subprocess.run([sys.executable, "-c", code, folder], check=True, env=environment)
    return folder


def results(base, case, workers):
    return [torch.load(base / case / f"{workers}-{rank}.pt") for rank in range(workers)]


def flat(state):
    return torch.cat([value.double().flatten() for value in state.values()])


@pytest.mark.parametrize("case", ["moco", "convolutions", "unequal classes", "auto"])
def test_two_workers_end_where_one_does_with_norms_and_weights_over_samples_as_well(base, case):
    [one], (first, second) = results(base, case, 1), results(base, case, 2)
    assert first["loss"] == pytest.approx(one["loss"], rel=1e-4)
    assert torch.equal(flat(first["state"]), flat(second["state"]))
    apart = flat(first["state"]) - flat(one["state"])  # running means and variances as well
    assert apart.norm() < 0.002 * flat(one["state"]).norm()
    assert [found["here"] for found in (one, first, second)] == [1, 2, 2]


def test_workers_that_find_different_states_refuse_to_go_on(base):
    [one], two = results(base, "apart", 1), results(base, "apart", 2)
    assert one["error"].startswith("stopped by SIGTERM after step 2 of 4")
    for found in two:
        assert "worker 0 after step 2, worker 1 after step 0" in found["error"]
        assert "data_root must be on a disk that all workers share" in found["error"]


def test_only_the_worker_at_fault_keeps_its_share_of_a_step_that_was_not_finite(base):
    first, second = results(base, "spoiled", 2)
    assert first["error"] == second["error"]
    (folder,) = (base / "spoiled" / "kept").glob("nonfinite-step-*-worker-*")
    worker = int(folder.name[-1])
    assert f"worker {worker}: loss nan" in first["error"]
    assert f"`miram replay {folder}`" in first["error"]
    kept = load_step(folder)
    assert 0 in kept.indices and len(kept.indices) == len(kept.crops) == 4
    assert not take_again(kept, Spoiled(METHOD.build(ENCODER, 0))).finite
