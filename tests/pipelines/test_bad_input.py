"""Bad input ends in one clear message before any long work, with an exit status that is not 0."""

import os
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
from skimage.io import imsave


@pytest.fixture
def kedro(project, tmp_path):
    def run(*arguments):
        command = [sys.executable, "-m", "kedro", "run", "--env", "test", *arguments]
        environment = {**os.environ, "DO_NOT_TRACK": "1"}
        return subprocess.run(
            command, cwd=project, env=environment, capture_output=True, text=True, check=False
        )

    return run


def params(**values):
    return ["--params", ",".join(f"{name}={value}" for name, value in values.items())]


def test_each_mistake_is_named(kedro, tmp_path):
    empty, missing = tmp_path / "empty", tmp_path / "missing"
    empty.mkdir()
    root = {"data_root": tmp_path / "data"}
    cases = [
        (params(source="cbis_ddsm", raw_root=missing, **root), f"{missing} does not exist"),
        (params(source="cbis_ddsm", raw_root=empty, **root), f"{empty} is empty"),
        (params(source="cbis_ddsm", **root), "needs raw_root"),
        (params(source="imagetable", **root), "unknown source 'imagetable': choose one of phantom"),
        (params(source="cbis_dsm", raw_root=empty, **root), "unknown source 'cbis_dsm'"),
        (params(sourc="phantom", **root), "did you mean source"),
        (params(**{"training.epochz": 3}, **root), "did you mean epochs"),
        (params(**{"encoder.image_size": 60}, **root), "64 would be"),
        (params(**{"encoder.overrides.dept": 3}, **root), "did you mean depth"),
        (params(**{"encoder.name": "vit_small_patch16_dinov3"}, **root), "class Eva"),
        (params(**{"encoder.image_size": 64}, **root), "a method that takes side 128"),
        (["--pipeline", "pretrain", "--namespaces", "miram_nystrum", *params(**root)], "nystrum"),
        (["--pipeline", "pretrian", *params(**root)], "pretrain"),
        (["--runner", "ParallelRunner", *params(**root)], "ParallelRunner"),
        (["--pipeline", "pretrain", *params(**root)], "crops"),
    ]
    for arguments, message in cases:
        run = kedro(*arguments)
        told = run.stderr + run.stdout
        assert run.returncode != 0, arguments
        assert message in told, (arguments, told)
        assert "Traceback" not in told, (arguments, told)
        assert "Running node" not in told, (arguments, told)


def test_a_table_without_a_needed_column_is_named(kedro, tmp_path, shared_data):
    raw = tmp_path / "raw"
    raw.mkdir()
    name = "mass_case_description_test_set.csv"
    text = (shared_data / "cbis_ddsm/csv" / name).read_text()
    (raw / name).write_text(text.replace("pathology", "patology", 1))
    run = kedro(*params(source="cbis_ddsm", raw_root=raw, data_root=tmp_path / "data"))
    assert run.returncode != 0
    assert "no column 'pathology'" in run.stderr + run.stdout
    assert "Traceback" not in run.stderr + run.stdout
    shutil.rmtree(raw)


def test_without_labels_nothing_is_trained_before_that_is_told(kedro, tmp_path):
    raw = tmp_path / "raw"
    raw.mkdir()
    texture = np.random.default_rng(0).integers(80, 200, (6, 400, 300), dtype=np.uint8)
    texture[:, :, 200:] = 0
    for number, image in enumerate(texture):
        imsave(raw / f"{number}.png", image)
    rows = [f"{number}.png,patient {number}" for number in range(6)]
    (raw / "table.csv").write_text("\n".join(["image_path,patient_id", *rows]))
    given = {"source": "image_table", "raw_root": raw, "data_root": tmp_path / "data"}
    given["sources.image_table.table"] = "table.csv"
    run = kedro(*params(**given))
    told = run.stderr + run.stdout
    assert run.returncode != 0
    assert "no lesion has a label of task 'pathology'" in told
    assert "Traceback" not in told
    assert "Running node: ingest_lesions" in told
    assert "pretrain_encoder" not in told.replace("--from-nodes", "")
    made = kedro("--pipelines", "ingest,rois", *params(**given))
    assert made.returncode == 0, made.stderr
    (others,) = re.findall(r"--namespaces ([\w,]+)`", told)
    assert "supervised" not in others
    run = kedro("--pipeline", "pretrain", *params(**given))
    assert "no lesion has a label" in run.stderr + run.stdout
    assert "Running node" not in run.stderr + run.stdout
