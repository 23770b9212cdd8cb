"""`make viz-site`: Kedro-Viz as a static site, browsed in Chromium."""

import os
import re
import subprocess
import sys

import pytest
from playwright.sync_api import expect
from project_paths import PROJECT

from miram.models.methods import BASELINES, METHODS

pytestmark = pytest.mark.browser

LAYERS = ["raw", "intermediate", "model_input", "models", "feature", "model_output", "reporting"]
METHOD = "miram_nystrom"
DRAWN = ".pipeline-node"


@pytest.fixture(scope="module")
def site(finished_project, serve):
    """Address of the site of the finished study."""
    command = [sys.executable, "-m", "miram.integrations.viz.site"]
    environment = {**os.environ, "KEDRO_ENV": "test"}
    run = subprocess.run(
        command, cwd=finished_project, env=environment, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    return serve(finished_project / "build/viz")


@pytest.fixture(scope="module")
def noted(site, open_page):
    noted = open_page(site)
    noted.page.wait_for_selector(DRAWN)
    noted.page.locator(".feature-hints__close").click()
    return noted


@pytest.fixture(scope="module")
def page(noted):
    return noted.page


def names(page) -> list[str]:
    """What the flowchart shows."""
    return page.locator(DRAWN).evaluate_all("all => all.map(node => node.dataset.nodeFullname)")


def show(page, name: str) -> None:
    """Click on a node; those far out are beyond the edge of the window."""
    page.locator(f"{DRAWN}[data-node-fullname='{name}']").dispatch_event("click")
    page.locator(".pipeline-metadata").get_by_text(name, exact=True).first.wait_for()


def test_every_method_is_one_closed_box_and_what_is_its_own_is_inside(page):
    shown = names(page)
    boxes = f"{DRAWN}[data-node-type=modularPipeline]"
    expect(page.locator(boxes)).to_have_count(len(METHODS) + len(BASELINES))
    assert {*METHODS, *BASELINES} <= set(shown)
    loose = {name for name in shown if name.split(".")[0] in {*METHODS, *BASELINES} and "." in name}
    # The report writes the cards when it has seen all methods.
    assert loose == {f"{method}.model_card" for method in METHODS}


def test_opened_method_shows_its_steps_and_the_layers_are_in_order(page):
    page.locator(f"{DRAWN}[data-id={METHOD}]").click()
    page.locator(f"{DRAWN}[data-id={METHOD}]").wait_for(state="detached")
    page.locator(f"{DRAWN}[data-node-fullname=pretrain_encoder]").first.wait_for(state="attached")
    shown = names(page)
    assert {f"{METHOD}.encoder", f"{METHOD}.metrics", "pretrain_encoder"} <= set(shown)
    assert {*METHODS, *BASELINES} - {METHOD} <= set(shown)
    layers = page.locator(".pipeline-layer-name")
    expect(layers).to_have_text(LAYERS)
    tops = layers.evaluate_all("all => all.map(layer => layer.getBoundingClientRect().top)")
    assert tops == sorted(tops)


@pytest.mark.parametrize("name", ["crops", f"{METHOD}.reconstruction_sheet"])
def test_pictures_are_previewed(page, name):
    show(page, name)
    picture = page.locator(".pipeline-metadata img")
    picture.wait_for()
    assert picture.evaluate("image => image.decode().then(() => image.naturalWidth)") > 100


@pytest.mark.parametrize(
    ("name", "column"),
    [("lesions", "mask_paths"), ("splits", "split"), ("leaderboard", "estimate")],
)
def test_tables_are_previewed(page, name, column):
    show(page, name)
    table = page.locator(".pipeline-metadata table")
    table.locator("th", has_text=re.compile(f"^{column}$")).first.wait_for()
    table.locator("tr").nth(5).wait_for()
    assert "[object" not in table.inner_text()


def test_every_step_tells_how_its_last_run_went(open_page, site):
    page = open_page(site).page
    page.wait_for_selector(DRAWN)
    page.locator(".feature-hints__close").click()
    page.get_by_role("button", name="View your workflow").click()
    page.get_by_text("Run execution completed successfully").wait_for()
    page.locator(f"{DRAWN}[data-node-fullname=pretrain_encoder]").first.wait_for(state="attached")
    steps = page.locator(f"{DRAWN}[data-node-type=task]")
    done = f"{DRAWN}[data-node-type=task][class*=status-success]"
    page.locator(done).nth(len(METHODS)).wait_for(state="attached")
    states = steps.evaluate_all("all => all.map(step => step.getAttribute('class'))")
    assert all("status-success" in state for state in states)


def test_no_folder_of_the_machine_and_no_address_is_in_the_site(finished_project, site):
    folder = finished_project / "build/viz"
    answers = [path for path in (folder / "api").rglob("*") if path.is_file()]
    assert len(answers) > 100
    own = (str(finished_project), str(PROJECT))
    for path in answers:
        assert not any(folder in path.read_text(encoding="utf-8") for folder in own), path
    assert "//" not in (folder / "index.html").read_text(encoding="utf-8")


def test_nothing_is_complained_of_and_nobody_else_is_asked(noted, site):
    """The last test: of the page after all that the others did to it."""
    assert noted.errors == []
    assert all(address.startswith(site) for address in noted.addresses)
