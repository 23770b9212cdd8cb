"""`miram benchmark`: rates of the stages of a study on this machine."""

import json
from functools import partial

import pytest
from miram_command import call_miram
from project_paths import PROJECT

run = partial(call_miram, "benchmark")


@pytest.fixture(autouse=True)
def in_the_project(monkeypatch):
    monkeypatch.chdir(PROJECT)


@pytest.mark.parametrize(
    ("stage", "rows"),
    [
        (("step", "supervised"), ["supervised"]),
        (("step", "miram_nystrom"), ["miram_nystrom"]),
        (("loader", "moco_v3"), ["moco_v3"]),
        (
            ("ingest",),
            ["phantom written", "tables and headers read", "mammograms decoded and cut"],
        ),
        (
            ("probe",),
            [f"{classes} classes, 700 lesions of 384 features" for classes in (2, 4)],
        ),
    ],
)
def test_each_stage_has_a_rate_for_people_and_machines(stage, rows, capsys):
    assert run(*stage, "--env", "test", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert [row["what"] for row in found] == rows
    assert all(row["stage"] == stage[0] and row["rate"] > 0 for row in found)
    assert run(*stage, "--env", "test") == 0
    lines = capsys.readouterr().out.splitlines()
    assert all(line.startswith(name) for line, name in zip(lines, rows, strict=True))
    assert all(row["unit"] in line for row, line in zip(found, lines, strict=True))


def test_every_method_of_the_study_that_is_trained_is_gathered_for(capsys):
    assert run("loader", "--env", "test", "--json") == 0
    found = [row["what"] for row in json.loads(capsys.readouterr().out)]
    assert "random" not in found and {"supervised", "mae", "hiend_mae"} <= set(found)


def test_what_cannot_be_timed_is_refused(capsys):
    assert run("step", "random", "--env", "test") == 1
    assert "nothing is trained" in capsys.readouterr().err
    assert run("step", "mea", "--env", "test") == 1
    assert "there is no method 'mea'" in capsys.readouterr().err
