"""MLflow as `make ui` starts it, browsed in Chromium."""

import json
import re
import socket
from contextlib import chdir
from urllib.parse import quote

import pytest
from mlflow import MlflowClient

from miram.commands.results.ui import HOST, end, runs_page, start_mlflow, wait_for
from miram.integrations.parameters import load_mlflow

pytestmark = pytest.mark.browser

COMPARED = ("mae", "miram_nystrom")
METRICS = ("pathology.auc", "pathology.auc.lower", "pathology.auc.upper")
# Names and values are two lists that are scrolled together: what stands at one height is a row.
BESIDE = """name => {
  const height = element => element.getBoundingClientRect().top;
  const table = name.closest('[class*=collapse-content-box]');
  const cell = name.parentElement;
  return [...table.querySelectorAll('[role=rowgroup] > div')]
    .filter(other => other !== cell && Math.abs(height(other) - height(cell)) < 3)
    .map(other => other.textContent.trim());
}"""


def config_of(project):
    with chdir(project):
        return load_mlflow()


@pytest.fixture(scope="module")
def free_port():
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="module")
def server(finished_project, free_port):
    """Address of an MLflow server on the records of the finished study."""
    address = f"http://{HOST}:{free_port}"
    process = start_mlflow(config_of(finished_project), free_port)
    try:
        wait_for(address, process)
        yield address
    finally:
        end(process)


@pytest.fixture(scope="module")
def runs(server):
    """The parent of the command, and the run of each method."""
    client = MlflowClient(server)
    experiment = client.get_experiment_by_name("miram")
    runs = client.search_runs(experiment.experiment_id)
    (parent,) = (run for run in runs if "mlflow.parentRunId" not in run.data.tags)
    return parent, {run.data.tags["method"]: run for run in runs if run is not parent}


@pytest.fixture(scope="module")
def comparison(server, runs, open_page):
    parent, methods = runs
    compared = quote(json.dumps([methods[name].info.run_id for name in COMPARED]))
    experiments = quote(json.dumps([parent.info.experiment_id]))
    address = f"{server}/#/compare-runs?runs={compared}&experiments={experiments}"
    return open_page(address).page


def row(page, key: str) -> list[str]:
    """The values beside a key in the tables of the comparison."""
    name = page.get_by_text(key, exact=True).last
    return name.locator("xpath=ancestor::tr[1]").inner_text().split()[-len(COMPARED) :]


def values(page, key: str) -> list[float]:
    """The values beside a metric, which is scrolled to as a reader does."""
    grid = page.locator(".ReactVirtualized__Grid").last
    name = page.locator(".ReactVirtualized__Grid a").filter(has_text=re.compile(f"^{key}$"))
    grid.hover()
    for _ in range(50):
        if name.count():
            break
        page.mouse.wheel(0, 200)
        page.wait_for_timeout(100)
    return [float(value) for value in name.evaluate(BESIDE)]


def test_runs_stand_side_by_side(comparison):
    comparison.get_by_text("Run details").wait_for()
    assert row(comparison, "Run Name:") == list(COMPARED)


@pytest.mark.parametrize("metric", METRICS)
def test_metrics_of_both_methods_stand_under_the_same_key(comparison, runs, metric):
    _, methods = runs
    expected = [methods[name].data.metrics[metric] for name in COMPARED]
    assert values(comparison, metric) == pytest.approx(expected, abs=1e-3)


def test_parameters_of_both_methods_stand_under_the_same_key(comparison, runs):
    _, methods = runs
    key = "method.decoders.0.attention.kind"
    assert row(comparison, key) == [methods[name].data.params[key] for name in COMPARED]


def test_the_parent_has_the_report_and_shows_it(server, runs, open_page):
    parent, _ = runs
    experiment, run = parent.info.experiment_id, parent.info.run_id
    page = open_page(f"{server}/#/experiments/{experiment}/runs/{run}/artifacts").page
    page.get_by_text("report.html", exact=True).first.click()
    shown = page.frame_locator("iframe").get_by_role("heading", name="Study report")
    shown.wait_for()
    assert shown.is_visible()


def test_the_list_shows_the_run_of_each_method_below_its_parent(
    finished_project, server, runs, open_page
):
    parent, methods = runs
    page = open_page(runs_page(server, config_of(finished_project))).page
    page.get_by_text(f"{1 + len(methods)} matching runs").wait_for()
    link = page.get_by_role("link", name=parent.info.run_name, exact=True)
    link.wait_for()
    link.locator("xpath=ancestor::*[@role='gridcell'][1]").get_by_role("button").first.click()
    for name in COMPARED:
        page.get_by_role("link", name=name, exact=True).wait_for()
    # The menu is that of model training, not that of language models.
    assert page.get_by_role("link", name="Judges").count() == 0
