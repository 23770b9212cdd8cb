"""One part of each kind, added from outside the package, is seen all the way to the report."""

import os
import shutil
import subprocess
import sys

import pandas as pd
import pytest
from project_paths import PROJECT

PARAMETERS = """
methods: [random, two_ways]
two_ways:
  method:
    kind: masked_autoencoder
    decoder_dim: 32
    decoders:
      - { scale: 1, kind: flat, loss_on: masked }
      - { scale: 2, attention: { kind: mean }, depth: 1, heads: 4, loss_on: all }
sources:
  atlas: {}
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory, finished_project):
    folder = tmp_path_factory.mktemp("additions")
    project, data_root = folder / "project", folder / "data"
    shutil.copytree(PROJECT / "conf", project / "conf")
    shutil.copy(PROJECT / "pyproject.toml", project)
    (project / "src").mkdir()
    # Behind the other files of the environment, whose values it replaces.
    (project / "conf/test/parameters.yml").unlink()
    text = (PROJECT / "conf/test/parameters.yml").read_text(encoding="utf-8")
    text = text.replace("  tasks: [pathology]\n", "  tasks: [pathology, breast]\n")
    text = text.replace("methods: all\n", "")
    (project / "conf/test/parameters.yml").write_text(text + PARAMETERS, encoding="utf-8")
    raw_root = finished_project / "data/01_raw/phantom"
    command = [sys.executable, PROJECT / "tests/helpers/additions.py", project, raw_root, data_root]
    run = subprocess.run(command, env=os.environ, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout[-3000:] + run.stderr[-3000:]
    return data_root


@pytest.fixture(scope="module")
def page(data):
    return (data / "08_reporting/report.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def board(data):
    (path,) = (data / "08_reporting/leaderboard.csv").glob("*/leaderboard.csv")
    return pd.read_csv(path)


def test_a_source_gives_lesions_its_codes_and_its_citation(data, page):
    assert len(pd.read_parquet(data / "02_intermediate/lesions.parquet")) > 50
    assert "a page of the atlas is odd" in page
    assert "A Curator (2026). Atlas" in (data / "08_reporting/two_ways/model_card.md").read_text()


def test_an_attention_and_a_decoder_train_the_method_that_names_them(data):
    history = pd.read_csv(data / "06_models/two_ways/history.csv")
    assert {"loss_scale1", "loss_scale2"} <= set(history.columns)


def test_a_method_is_called_and_colored_as_it_declares(page, board):
    assert set(board["method"]) >= {"random", "two_ways"}
    assert "Two ways" in page and "#123456" in page


def test_a_task_and_a_metric_stand_in_the_leaderboard(page, board):
    assert set(board["task"]) == {"pathology", "breast"}
    missed = board[(board["metric"] == "missed") & (board["method"] == "two_ways")]
    assert set(missed["task"]) == {"pathology", "breast"}
    assert missed["estimate"].between(missed["lower"], missed["upper"]).all()
    assert "Share missed" in page


def test_a_section_stands_in_the_page_with_its_title(page):
    section = page.split('<section id="longest-name"')[1].split("</section>")[0]
    assert "The longest name" in section and "It is two_ways." in section
