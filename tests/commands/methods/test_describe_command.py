"""`miram describe`: for people, for machines, and the page of the documentation."""

import json

import pytest
from miram_command import call_miram as run
from project_paths import PROJECT

from miram.commands.methods.describe import describe_methods, markdown_table, renew
from miram.errors import MiramError
from miram.integrations.parameters import load_parameters

PAGE = PROJECT / "docs" / "methods.md"


@pytest.fixture(autouse=True)
def in_the_project(monkeypatch):
    monkeypatch.chdir(PROJECT)


@pytest.mark.slow
def test_the_documentation_states_todays_costs():
    costs = describe_methods(load_parameters("paper"))
    assert markdown_table(costs) in PAGE.read_text(), (
        "renew it: miram describe --env paper --page docs/methods.md"
    )


def test_people_get_a_table_and_machines_the_same_metrics(capsys):
    assert run("describe", "miram_nystrom", "--env", "test") == 0
    table = capsys.readouterr().out.splitlines()
    assert run("describe", "miram_nystrom", "--env", "test", "--json") == 0
    ((name, parts),) = json.loads(capsys.readouterr().out).items()
    assert name == "miram_nystrom"
    assert table[0].split()[:2] == ["method", "part"]
    for part, line in zip(parts, table[1:], strict=False):
        assert part["name"] in line
        assert f"{part['parameters'] / 1e6:.1f}" in line and f"{part['macs'] / 1e9:.2f}" in line
    total = sum(part["parameters"] for part in parts)
    assert table[-1].split()[:2] == ["sum", f"{total / 1e6:.1f}"]


def test_an_environment_changes_the_metrics(capsys):
    metrics = {}
    for env in ("test", "base"):
        assert run("describe", "mae", "--env", env, "--json") == 0
        metrics[env] = json.loads(capsys.readouterr().out)["mae"][0]
    assert metrics["test"]["macs"] < metrics["base"]["macs"]


def test_given_settings_go_over_those_of_the_environment(capsys):
    # As they stand in a command that ran the study.
    settings = "source=image_table,raw_root=2024,data_root=data/x, encoder.patch_size=16,"
    settings += "encoder.image_size=128"
    assert run("describe", "mae", "--env", "base", "--params", settings, "--json") == 0
    encoder = json.loads(capsys.readouterr().out)["mae"][0]
    assert encoder["tokens"] == int(0.4 * (128 // 16) ** 2) + 1  # 60 % are hidden; a class token


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["mea"], "there is no method 'mea': one of random, supervised, "),
        (["--params", "encoder.patch_sise=16"], "did you mean patch_size"),
        (["--params", "16"], "Item `16` must contain a key and a value"),
        (["--env", "papre"], "there is no environment 'papre': one of attention_sweep, base, "),
    ],
)
def test_unknown_names_are_reported_with_those_there_are(arguments, message, capsys):
    assert run("describe", *arguments) == 1
    assert message in capsys.readouterr().err


def test_outside_of_a_project_the_place_is_reported(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(MiramError, match=f"{tmp_path} is in no Kedro project"):
        load_parameters()


def test_renewing_a_page_changes_nothing_but_the_table(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "# Title\n<!-- begin: miram describe -->\nold\n<!-- end: miram describe -->\nlast\n"
    )
    renew(page, {})
    first, *table, end, last = page.read_text().splitlines()
    assert (first, end, last) == ("# Title", "<!-- end: miram describe -->", "last")
    assert "old" not in table and table[1].startswith("| method |")
    page.write_text("no marks")
    with pytest.raises(MiramError, match="has no lines"):
        renew(page, {})
