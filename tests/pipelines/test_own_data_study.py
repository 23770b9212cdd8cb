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

from miram.models.methods import METHODS


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


def write_lab(folder, lesions=24):
    """Breasts with one lesion each, brighter where it is cancer, and their table."""
    random = np.random.default_rng(0)
    rows, columns = np.mgrid[:300, :200]
    breast = columns < 150 - 0.002 * (rows - 150) ** 2
    folder.mkdir()
    lines = ["patient,file,x,y,w,h,diagnosis"]
    for number in range(lesions):
        across, down = random.integers(40, 80), random.integers(80, 220)
        lesion = np.hypot(columns - across, rows - down) < 18
        grey = breast * (90 + 20 * random.random(breast.shape) + 60 * (number % 2) * lesion)
        Image.fromarray(grey.astype(np.uint8)).save(folder / f"{number}.png")
        label = "cancer" if number % 2 else "benign"
        lines.append(f"p{number},{number}.png,{across - 18},{down - 18},36,36,{label}")
    (folder / "findings.csv").write_text("\n".join(lines))


def test_three_commands_lead_from_a_table_and_pictures_to_a_report(tmp_path, capsys):
    conf = tmp_path / "conf"
    write_lab(tmp_path / "lab")
    (tmp_path / "src").mkdir()  # Kedro looks for it
    (tmp_path / "pyproject.toml").symlink_to(PROJECT / "pyproject.toml")
    conf.mkdir()
    for name in ("base", "logging.yml"):
        (conf / name).symlink_to(PROJECT / "conf" / name)

    table = tmp_path / "lab/findings.csv"
    assert call_miram("table", "check", table, "--write", conf / "my_lab") == 0
    soon = ("--params", "training.epochs=1,evaluation.bootstrap_draws=100")
    run = run_kedro("run", "--env", "my_lab", *soon, folder=tmp_path)
    assert run.returncode == 0, run.stdout + run.stderr
    capsys.readouterr()
    assert call_miram("report", "--data-root", tmp_path / "data/my_lab") == 0
    assert f"report: {tmp_path}/data/my_lab/08_reporting/report.html" in capsys.readouterr().out
    (board,) = (tmp_path / "data/my_lab/08_reporting").glob("leaderboard.csv/*/leaderboard.csv")
    found = pd.read_csv(board).query("task == 'pathology' and metric == 'auc'")
    methods = set(found["method"])
    assert {"hog", "mean_grey"} <= methods and methods & set(METHODS) == {"random", "mae"}
