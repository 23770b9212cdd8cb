"""The report page in Chromium, as a reader opens it: from the file, without network."""

import re

import pytest

pytestmark = pytest.mark.browser

PHONE = {"width": 390, "height": 844}
# What is drawn has marks, not only axes.
MARK = ".trace path, .points path, .barlayer path, .boxlayer path, .heatmaplayer image, canvas"


@pytest.fixture(scope="module")
def address(finished_project):
    return (finished_project / "data/08_reporting/report.html").as_uri()


@pytest.fixture(scope="module")
def noted(open_page, address):
    """The page with all that can be opened open, and all charts drawn."""
    noted = open_page(address)
    noted.page.locator(".chart svg.main-svg").first.wait_for()  # the library has started
    noted.page.evaluate("document.querySelectorAll('details').forEach(part => part.open = true)")
    for chart in noted.page.locator(".chart").all():
        chart.locator(MARK).first.wait_for(state="attached")
    return noted


@pytest.fixture(scope="module")
def page(noted):
    return noted.page


def test_every_section_of_the_contents_is_there_and_shows_something(page):
    links = page.locator("nav a[href^='#']")
    targets = [link.get_attribute("href") for link in links.all()]
    assert len(targets) > 5
    for target in targets:
        section = page.locator(target)
        heading = section.locator("h2, h3").or_(page.locator(f"h2{target}, h3{target}")).first
        assert heading.is_visible(), target
        text = section.inner_text().removeprefix(heading.inner_text())
        assert len(text.strip()) > 20, target
        assert section.bounding_box()["height"] > 50, target


def test_every_section_is_in_the_contents(page):
    sections = {section.get_attribute("id") for section in page.locator("main section[id]").all()}
    linked = {link.get_attribute("href")[1:] for link in page.locator("nav a[href^='#']").all()}
    assert sections
    assert sections <= linked


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
    phone.locator(".chart svg.main-svg").first.wait_for()
    widths = "[document.documentElement.scrollWidth, document.documentElement.clientWidth]"
    scrolled, shown = phone.evaluate(widths)
    assert shown == PHONE["width"]
    assert scrolled <= shown


def test_the_keyboard_reaches_the_findings_and_the_contents(open_page, address):
    page = open_page(address).page
    page.keyboard.press("Tab")
    skip = page.locator(":focus")
    assert skip.get_attribute("href") == "#main"
    assert skip.bounding_box()["y"] >= 0  # it shows itself when it is reached
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.closest('nav') !== null")
    section = page.locator(":focus").get_attribute("href")
    page.keyboard.press("Enter")
    assert page.evaluate("location.hash") == section
    page.evaluate("document.querySelector('a.skip').focus()")
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"


def test_it_prints_on_several_pages(page):
    pdf = page.pdf(format="A4")
    assert pdf.startswith(b"%PDF-")
    assert len(re.findall(rb"/Type\s*/Page\b", pdf)) > 1


def test_what_is_closed_is_printed_open_and_closed_again(open_page, address):
    page = open_page(address).page
    page.locator(".chart svg.main-svg").first.wait_for()
    closed = page.locator("details:not([open])").count()
    assert closed
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator("details:not([open])").count() == 0
    for chart in page.locator("details .chart").all():
        chart.locator(MARK).first.wait_for(state="attached")
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.locator("details:not([open])").count() == closed


def test_each_filter_shows_the_rows_that_fit_and_says_how_many(page):
    total = page.locator("#board tbody tr").count()
    shown = page.locator("#board tbody tr:visible")
    selects = page.locator("#board-filters select")
    names = selects.evaluate_all("all => all.map(select => select.dataset.filter)")
    assert {"task", "metric"} <= set(names)
    _show_all(selects)
    assert shown.count() == total
    for name, select in zip(names, selects.all(), strict=True):
        for value in select.evaluate("select => [...select.options].map(option => option.value)"):
            select.select_option(value)
            rows = shown.evaluate_all("rows => rows.map(row => ({...row.dataset}))")
            assert page.locator("#board-count").inner_text().startswith(f"{len(rows)} of {total} ")
            assert rows
            if value == "main":
                assert all("main" in row for row in rows)
            elif value:
                assert {row[name] for row in rows} == {value}
        _show_all(selects)


def _show_all(selects):
    for select in selects.all():
        select.select_option("")


def test_a_column_sorts_both_ways(page):
    button = page.locator("#board thead th:has-text('Estimate') button")
    column = button.evaluate("button => button.closest('th').cellIndex")
    values = f"rows => rows.map(row => parseFloat(row.cells[{column}].textContent))"
    shown = page.locator("#board tbody tr:visible")
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
