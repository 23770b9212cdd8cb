"""The script for a GPU runs to its end on a CPU, and a part that fails takes no other along."""

import os
import re
import subprocess
import sys

import pytest
from project_paths import PROJECT
from scale import write_images

LESIONS = 40


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    folder = tmp_path_factory.mktemp("films")
    write_images(folder, LESIONS)
    return folder


def run_script(films, page, *options):
    script = PROJECT / "benchmarks/gpu.py"
    given = (films, "--small", "--device", "cpu", "--minutes", "60", "--page", page, *options)
    hidden = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    run = subprocess.run([sys.executable, script, *given], cwd=page.parent, env=hidden)
    return run.returncode, page.read_text()


def test_every_part_runs_on_a_cpu(films, tmp_path):
    status, page = run_script(films, tmp_path / "page.md")
    assert status == 0 and "FAILED" not in page
    assert re.search(r"test_on_a_gpu.py -n 0`: \d+ skipped", page)
    rows = [line.split(" | ") for line in page.splitlines() if line.startswith("| ")]
    steps = [row for row in rows if row[1] in ("yes", "no")]
    assert len(steps) == 3 and all(float(row[2]) > 0 for row in steps)
    layers = [row for row in rows if row[1] == "145"]
    assert len(layers) == 4 and all(float(row[2]) > 0 for row in layers)
    found = re.search(r"untrained encoder by ([+-]\d\.\d{3}) \((\S+) to (\S+)\) in auc", page)
    difference, lower, upper = map(float, found.groups())
    assert lower <= difference <= upper
    assert f"{LESIONS} lesions on {LESIONS} films, 2 epochs of about 80 crops" in page


def test_a_part_that_fails_is_said_and_the_others_are_kept(films, tmp_path):
    (tmp_path / "lesions.csv").write_text("image_path\nmissing.png\n")
    status, page = run_script(tmp_path, tmp_path / "page.md", "--only", "lesions+attention")
    assert status == 1
    lost, _, kept = page.partition("## Attention")
    assert "FAILED: MiramError" in lost and "kedro run" in lost
    assert "FAILED" not in kept and "| nystrom | 145 |" in kept
