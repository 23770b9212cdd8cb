"""The worked example of docs/bring_your_own_data.md, from its table to metrics of its own task."""

import re
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import yaml
from miram_command import call_miram, run_kedro
from PIL import Image
from project_paths import PROJECT


@pytest.fixture(scope="module")
def example(project):
    """Blocks of the page by language."""
    page = (project / "docs/bring_your_own_data.md").read_text(encoding="utf-8")
    return {
        language: re.findall(rf"```{language}\n(.*?)```", page, re.DOTALL)
        for language in ("python", "yaml")
    }


@pytest.fixture(scope="module")
def own_study(example, tmp_path_factory, run_pipeline):
    my_lab = tmp_path_factory.mktemp("my_lab")
    subprocess.run([sys.executable, "-c", example["python"][0]], cwd=my_lab, check=True)
    data_root = tmp_path_factory.mktemp("own_study")
    params = {"source": "image_table", "raw_root": str(my_lab)}
    for block in example["yaml"]:
        options = yaml.safe_load(block)
        if "own_tasks" in options.get("evaluation", {}) or len(params) == 2:
            params |= options
    for name in ("ingest", "rois"):
        run_pipeline(data_root, name, **params)
    for name in ("pretrain", "probe"):
        run_pipeline(data_root, name, namespaces=["random"], **params)
    return data_root


def test_a_column_of_ones_own_is_asked_beside_the_pathology(own_study, open_context):
    catalog = open_context(own_study).catalog
    metrics = catalog.load("random.evaluation").metrics
    assert list(metrics["tasks"]) == ["pathology", "grade"]
    grade = metrics["tasks"]["grade"]
    assert grade["classes"] == ["1", "2", "3"]
    assert (grade["lesions"], grade["patients"]) == (30, 30)
    auc = grade["metrics"]["auc_macro"]
    assert auc["lower"] <= auc["estimate"] <= auc["upper"]


def test_its_labels_are_those_of_the_table(own_study, open_context):
    catalog = open_context(own_study).catalog
    predictions = catalog.load("random.evaluation").predictions
    predictions = predictions.query("task == 'grade' and label == 1")
    lesions = pd.read_parquet(own_study / "02_intermediate/lesions.parquet")
    expected = lesions.set_index("lesion_id")["grade"].astype(int).astype(str)
    found = predictions.set_index("lesion_id")["class"]
    assert found.to_dict() == expected.to_dict()


def test_what_is_written_of_a_table_is_all_that_a_run_needs(tmp_path):
    lab, conf = tmp_path / "lab", tmp_path / "conf"
    lab.mkdir()
    Image.fromarray(np.full((60, 50), 90, np.uint8)).save(lab / "a.png")
    (lab / "findings.csv").write_text("patient,file,x,y,w,h,diagnosis\np,a.png,1,2,20,30,cancer\n")
    conf.mkdir()
    (tmp_path / "src").mkdir()  # Kedro looks for it
    (tmp_path / "pyproject.toml").symlink_to(PROJECT / "pyproject.toml")
    for name in ("base", "logging.yml"):
        (conf / name).symlink_to(PROJECT / "conf" / name)

    assert call_miram("table", "check", lab / "findings.csv", "--write", conf / "my_lab") == 0
    run = run_kedro("run", "--env", "my_lab", "--pipeline", "ingest", folder=tmp_path)
    assert run.returncode == 0, run.stdout + run.stderr
    lesions = pd.read_parquet(tmp_path / "data/my_lab/02_intermediate/lesions.parquet")
    assert lesions["pathology"].tolist() == ["MALIGNANT"]
