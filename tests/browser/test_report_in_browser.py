"""The report page in Chromium, as a reader opens it: from the file, without network."""

import json
import re
import shutil
import subprocess
import sys

import pytest

pytestmark = pytest.mark.browser

PHONE = {"width": 390, "height": 844}
LAPTOP = {"width": 1280, "height": 800}
# What sticks out of the page at its right, and is not in a part that scrolls by itself.
BESIDE = """[...document.querySelectorAll("main *")]
  .filter(part => part.getBoundingClientRect().right > innerWidth + 1)
  .filter(part => !part.closest(".scroll, pre, svg, .unseen"))
  .map(part => part.outerHTML.slice(0, 200))"""
# What is drawn has marks, not only axes.
MARK = ".trace path, .points path, .barlayer path, .boxlayer path, .heatmaplayer image, canvas"


@pytest.fixture(scope="module")
def address(finished_project):
    return (finished_project / "data/08_reporting/report.html").as_uri()


@pytest.fixture(scope="module")
def noted(open_page, address):
    """The page with all that can be opened open, and all charts drawn."""
    noted = open_page(address)
    for _ in range(600):
        # wait_for_function would need eval from its second look on, which the page forbids.
        if noted.page.evaluate("Boolean(window.Plotly)"):
            break
        noted.page.wait_for_timeout(100)
    noted.page.evaluate("document.querySelectorAll('details').forEach(part => part.open = true)")
    for chart in noted.page.locator(".chart").all():
        chart.locator(MARK).first.wait_for(state="attached")
    return noted


@pytest.fixture(scope="module")
def page(noted):
    return noted.page


def test_the_file_is_small_enough_to_be_sent(finished_project):
    assert (finished_project / "data/08_reporting/report.html").stat().st_size < 3_000_000


def test_every_section_shows_something_when_it_is_opened(page):
    sections = page.locator("main section[id]")
    assert sections.count() > 5
    for section in sections.all():
        heading = section.locator("h2").first
        text = section.inner_text().removeprefix(heading.inner_text())
        assert len(text.strip()) > 20
        assert section.bounding_box()["height"] > 50


@pytest.mark.parametrize("viewport", [PHONE, LAPTOP], ids=["phone", "laptop"])
def test_the_first_screen_holds_the_answer_and_its_forest_plot(open_page, address, viewport):
    page = open_page(address, viewport=viewport).page
    for part in (".verdict", ".duel", ".answer .forest"):
        box = page.locator(part).bounding_box()
        assert box["y"] + box["height"] <= viewport["height"], part
        assert box["x"] >= 0 and box["x"] + box["width"] <= viewport["width"], part


def test_a_link_to_a_section_opens_it(open_page, address):
    page = open_page(f"{address}#data").page
    assert page.locator("#data > details[open]").count() == 1
    assert page.locator("details.fold[open]").count() == 1


@pytest.mark.parametrize("viewport", [PHONE, LAPTOP], ids=["phone", "laptop"])
def test_open_sections_clip_nothing_and_keep_the_names_of_rows_in_sight(
    open_page, address, viewport
):
    page = open_page(address, viewport=viewport).page
    page.evaluate("document.querySelectorAll('details').forEach(part => part.open = true)")
    assert page.evaluate(BESIDE) == []
    for table in page.locator(".scroll").all():
        name = table.locator("tbody th").first
        if name.count():
            table.evaluate("table => table.scrollLeft = 10000")
            assert name.bounding_box()["x"] == pytest.approx(table.bounding_box()["x"], abs=2)


def test_every_chart_is_drawn_as_wide_as_its_place(page):
    charts = page.locator(".chart")
    assert charts.count() > 3
    for chart in charts.all():
        assert chart.locator(MARK).count() > 0
        drawing = chart.locator("svg.main-svg, canvas").first.bounding_box()
        assert drawing["width"] == pytest.approx(chart.bounding_box()["width"], rel=0.1)
        assert drawing["height"] > 100


def test_every_picture_is_drawn(page):
    assert page.locator("main img").count() > 0
    broken = "[...document.images].filter(image => !image.complete || !image.naturalWidth).length"
    assert page.evaluate(broken) == 0


def test_a_phone_needs_no_sideways_scrolling(open_page, address):
    phone = open_page(address, viewport=PHONE).page
    widths = "[document.documentElement.scrollWidth, document.documentElement.clientWidth]"
    scrolled, shown = phone.evaluate(widths)
    assert shown == PHONE["width"]
    assert scrolled <= shown


def test_the_keyboard_reaches_the_findings_and_opens_a_section(open_page, address):
    page = open_page(address).page
    page.keyboard.press("Tab")
    skip = page.locator(":focus")
    assert skip.get_attribute("href") == "#main"
    assert skip.bounding_box()["y"] >= 0  # it shows itself when it is reached
    while not page.evaluate("document.activeElement.matches('.fold > summary')"):
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert page.locator(".fold[open]").count() == 1
    page.evaluate("document.querySelector('a.skip').focus()")
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"


def pages_of(pdf):
    assert pdf.startswith(b"%PDF-")
    return len(re.findall(rb"/Type\s*/Page\b", pdf))


def test_the_folded_page_prints_on_two_pages_at_most_and_opened_parts_besides(
    open_page, address, page
):
    assert pages_of(open_page(address).page.pdf(format="A4")) <= 2
    assert pages_of(page.pdf(format="A4")) > 2


def test_the_command_prints_the_answer_on_two_pages(finished_project, tmp_path):
    folder = tmp_path / "08_reporting"
    folder.mkdir()
    shutil.copy(finished_project / "data/08_reporting/report.html", folder)
    command = [sys.executable, "-c", "from miram.commands.app import main; main()"]
    command += ["report", "--pdf", "--json", "--data-root", tmp_path]
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert json.loads(run.stdout)["pdf"] == str(folder / "report.pdf")
    assert pages_of((folder / "report.pdf").read_bytes()) == 2


def test_a_column_sorts_both_ways(page):
    board = page.locator(".board").first
    button = board.locator("thead th:has-text('ROC AUC') button").first
    column = button.evaluate("button => button.closest('th').cellIndex")
    values = f"rows => rows.map(row => parseFloat(row.cells[{column}].textContent))"
    shown = board.locator("tbody tr")
    orders = []
    for _ in range(2):
        button.click()
        orders.append([value for value in shown.evaluate_all(values) if value == value])
    assert orders[0] != orders[1]
    assert orders[0] == sorted(orders[0], reverse=True)
    assert orders[1] == sorted(orders[1])


def test_nothing_is_complained_of_and_nothing_but_the_file_is_asked_for(noted, address):
    """The last test: of the page after all that the others did to it."""
    assert noted.errors == []
    assert set(noted.addresses) == {address}
