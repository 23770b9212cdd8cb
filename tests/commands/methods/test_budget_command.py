"""`miram budget`: for people, for machines, and for what does not fit."""

import json
from functools import partial

import pytest
from miram_command import call_miram
from project_paths import PROJECT

from miram.commands.methods.budget import plan_methods
from miram.integrations.parameters import load_parameters

run = partial(call_miram, "budget")


@pytest.fixture(autouse=True)
def in_the_project(monkeypatch):
    monkeypatch.chdir(PROJECT)


def budget(capsys, *arguments):
    assert run(*arguments, "--env", "test", "--json") == 0
    return json.loads(capsys.readouterr().out)


def test_people_get_a_table_and_machines_the_same_metrics(capsys):
    arguments = ("supervised", "--memory", "3GB", "--effective-batch", 64)
    ((name, found),) = budget(capsys, *arguments).items()
    assert name == "supervised"
    assert found["batch_size"] * found["accumulation"] == 64
    assert found["limit"] == 3_000_000_000
    assert run(*arguments, "--env", "test") == 0
    heading, row, caption = capsys.readouterr().out.splitlines()
    assert heading.split() == ["method", "batch", "micro-batches", "peak"]
    assert row.split()[:3] == ["supervised", "64", "1"]
    assert caption.startswith("estimated in") and "for 3.0GB of memory; training.b" in caption


def test_precision_changes_the_metrics(capsys):
    given = ("supervised", "--memory", "3GB", "--precision")
    plain, half = (budget(capsys, *given, one)["supervised"] for one in ("fp32", "bf16"))
    assert (plain["precision"], half["precision"]) == ("fp32", "bf16")
    assert half["peak"] < plain["peak"]


def test_methods_that_cannot_be_planned_say_why_beside_the_others():
    parameters = load_parameters("test")
    few = {name: parameters[name] for name in ("random", "mae", "moco_v3")}
    shared = {name: parameters[name] for name in ("encoder", "training", "rois")}
    asked = {"memory": "1.54GB", "effective_batch": 256}
    found = plan_methods({**shared, **few}, None, asked)
    assert "is not trained" in found["random"]
    assert "all 256 samples of a step must fit at once" in found["moco_v3"]
    assert found["mae"].accumulation > 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["mea"], "there is no method 'mea': one of random, supervised, "),
        (["mae", "--memory", "lots"], "'lots' is no amount of memory: write one such as 12GB"),
        (["mae", "--memory", "1GB"], "mae: with one image a training takes "),
        (["mae", "--precision", "int8"], "precision: Input should be"),
        (["random"], "random: is not trained"),
        (["--env", "papre"], "there is no environment 'papre': one of attention_sweep, base, "),
    ],
)
def test_mistakes_become_one_line(arguments, message, capsys):
    env = [] if "--env" in arguments else ["--env", "test"]
    assert run(*arguments, *env) == 1
    error = capsys.readouterr().err
    assert message in error.splitlines()[-1]
