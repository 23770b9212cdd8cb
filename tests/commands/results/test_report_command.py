"""`miram report`: where the page is, the page itself, and who makes it where there is none."""

import json
from functools import partial

import pytest
from miram_command import call_miram, run_miram

run = partial(call_miram, "report")


@pytest.fixture
def data_root(tmp_path):
    page = tmp_path / "a study" / "08_reporting" / "report.html"
    page.parent.mkdir(parents=True)
    page.write_text("<title>metrics</title>")
    return tmp_path / "a study"


def test_the_place_of_the_page_is_printed_for_people_and_machines(data_root, capsys):
    page = data_root / "08_reporting" / "report.html"
    assert run("--data-root", data_root) == 0
    place, advice = capsys.readouterr().out.splitlines()
    assert place == f"report: {page}"
    assert advice.startswith("next: ") and "--open" in advice and "--pdf" in advice
    assert run("--data-root", data_root, "--json") == 0
    assert json.loads(capsys.readouterr().out) == {"report": str(page)}


def open_with(browser, data_root, folder):
    """Open the page where the only browser is a shell script."""
    script = folder / "browser"
    script.write_text(f"#!/bin/sh\n{browser}\n")
    script.chmod(0o755)
    environment = {"BROWSER": f"{script} %s", "PATH": "", "DISPLAY": ""}
    return run_miram("report", "--data-root", data_root, "--open", **environment)


def test_open_hands_the_page_to_the_browser_of_the_user(data_root, tmp_path):
    shown = tmp_path / "shown.txt"
    done = open_with(f'echo "$1" > "{shown}"', data_root, tmp_path)
    assert done.returncode == 0, done.stderr
    assert shown.read_text().strip() == (data_root / "08_reporting" / "report.html").as_uri()


def test_without_a_browser_the_place_of_the_page_is_reported_still(data_root, tmp_path):
    done = open_with("exit 1", data_root, tmp_path)
    assert done.returncode == 1
    assert f"report: {data_root / '08_reporting' / 'report.html'}" in done.stdout
    assert "no web browser could be started here: copy" in done.stderr


def print_with(data_root, path):
    return run_miram("report", "--data-root", data_root, "--pdf", PATH=str(path))


def test_printing_without_a_browser_says_which_to_install(data_root, tmp_path):
    done = print_with(data_root, tmp_path / "nothing")
    assert done.returncode == 1
    assert "apt-get install chromium, or open" in done.stderr and done.stderr.count("\n") == 1


def test_a_browser_that_prints_nothing_is_quoted_and_no_file_is_left(data_root, tmp_path):
    browser = tmp_path / "chromium"
    browser.write_text("#!/bin/sh\necho no display here >&2\n")
    browser.chmod(0o755)
    done = print_with(data_root, tmp_path)
    assert done.returncode == 1
    assert "did not print" in done.stderr and "no display here" in done.stderr
    assert [path.name for path in (data_root / "08_reporting").iterdir()] == ["report.html"]


def test_without_a_page_the_command_that_makes_it_is_named(tmp_path, capsys):
    assert run("--data-root", tmp_path) == 1
    output = capsys.readouterr()
    assert output.out == "" and output.err.count("\n") == 1
    assert "there is no report at" in output.err
    assert "kedro run --pipeline report" in output.err
