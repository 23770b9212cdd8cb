"""`miram compare`: the paired tests of a finished study, from its files."""

import json
from functools import partial

import pandas as pd
import pytest
from forty_patients import evaluations
from miram_command import call_miram

from miram.evaluation.config import ComparisonConfig
from miram.reporting.facts.findings import paired_with_reference

run = partial(call_miram, "compare")
DRAWS = 200
FINE_TUNED = ("mae", "odd")
STRENGTHS = {"random": 0.0, "mae": 2.0, "hog": 1.0, "odd": 0.5}


@pytest.fixture(scope="module")
def data_root(tmp_path_factory):
    """A study of an untrained encoder, one with a strong sign, an anchor, and one of a user."""
    root = tmp_path_factory.mktemp("study")
    for method, found in evaluations(STRENGTHS, DRAWS):
        metrics = {**found.metrics, "features": {"crops": "abc"}}
        folder = root / "07_model_output" / method
        write(folder, "", metrics, found.predictions)
        if method in FINE_TUNED:
            predictions = found.predictions.assign(protocol="finetuned")
            write(folder, "finetuned_", metrics, predictions)
    return root


def write(folder, prefix, metrics, predictions):
    version = folder / f"{prefix}metrics.json" / "2026-01-02T03.04.05.678Z"
    version.mkdir(parents=True)
    predictions.to_parquet(folder / f"{prefix}predictions.parquet")
    (version / f"{prefix}metrics.json").write_text(json.dumps(metrics))


def test_the_comparisons_are_those_of_the_report(data_root, capsys):
    assert run("--data-root", data_root, "--draws", DRAWS, "--json") == 0
    (line,) = capsys.readouterr().out.splitlines()
    found = json.loads(line)
    tables = {
        name: pd.read_parquet(data_root / "07_model_output" / name / "predictions.parquet")
        for name in ("random", "mae", "odd")
    }
    expected = paired_with_reference(
        tables, "pathology", "binary", ComparisonConfig(), draws=DRAWS, seed=0
    )
    assert [row["method"] for row in found["comparisons"]] == ["mae", "odd"]
    for row, other in zip(found["comparisons"], expected, strict=True):
        for name in ("method", "difference", "lower", "upper", "p_value", "p_holm"):
            assert row[name] == getattr(other, name)
    assert found["strategy"] == "cv" and found["metric"] == "auc" and found["protocol"] == "linear"
    assert found["data_digests"] == dict.fromkeys(("random", "mae", "odd"), "abc")


def test_fine_tuned_models_are_compared_with_each_other(data_root, capsys):
    asked = ("--protocol", "finetuned", "--reference", "odd", "--draws", DRAWS)
    assert run(*asked, "--data-root", data_root, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["protocol"] == "finetuned"
    (row,) = found["comparisons"]
    assert (row["method"], row["reference"]) == ("mae", "odd") and row["difference"] > 0
    assert run(*asked, "--data-root", data_root) == 0
    assert "Protocol: finetuned. Data version: abc." in capsys.readouterr().out


def test_methods_evaluated_under_different_splits_are_not_compared(data_root, tmp_path, capsys):
    for method in ("random", "mae"):
        original = data_root / "07_model_output" / method
        metrics = json.loads(next((original / "metrics.json").glob("*/*")).read_text())
        changed = {**metrics, "leakage": "official"} if method == "mae" else metrics
        predictions = pd.read_parquet(original / "predictions.parquet")
        write(tmp_path / "07_model_output" / method, "", changed, predictions)
    assert run("mae", "--data-root", tmp_path, "--draws", DRAWS) == 1
    reported = capsys.readouterr()
    assert reported.out == "" and "mae under cv, leakage official" in reported.err
    assert "random under cv, leakage drop" in reported.err


def test_named_methods_stand_against_the_reference_that_was_named(data_root, capsys):
    asked = ("mae", "hog", "--reference", "odd", "--metric", "accuracy")
    assert run(*asked, "--data-root", data_root, "--draws", DRAWS) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "accuracy minus that of odd: pathology, 80 lesions of 40 patients" in text
    assert "│ mae │" in text and "│ hog │" in text and "│ random │" not in text
    assert "Holm over 2 models" in text and "Split: cv" in text and "200 draws, seed 0" in text


def test_a_method_without_the_task_is_left_out_and_named(data_root, tmp_path, capsys):
    root = tmp_path / "copy"
    for method in ("random", "mae", "odd"):
        there = root / "07_model_output" / method
        there.mkdir(parents=True)
        original = data_root / "07_model_output" / method
        (there / "predictions.parquet").symlink_to(original / "predictions.parquet")
        (there / "metrics.json").symlink_to(original / "metrics.json")
    metrics = json.loads(next((there / "metrics.json").glob("*/*")).read_text())
    (there / "metrics.json").unlink()
    (there / "metrics.json" / "2026-02").mkdir(parents=True)
    text = json.dumps({**metrics, "tasks": {}})
    (there / "metrics.json" / "2026-02" / "metrics.json").write_text(text)
    assert run("--data-root", root, "--draws", DRAWS) == 0
    assert "Left out: odd was not evaluated on this task." in capsys.readouterr().out


def test_means_over_trainings_are_called_so(data_root, tmp_path, capsys):
    for method in ("random", "mae"):
        there, original = (root / "07_model_output" / method for root in (tmp_path, data_root))
        there.mkdir(parents=True)
        (there / "metrics.json").symlink_to(original / "metrics.json")
        one = pd.read_parquet(original / "predictions.parquet")
        pd.concat([one, one.assign(seed=1)]).to_parquet(there / "predictions.parquet")
    assert run("--data-root", tmp_path, "--draws", DRAWS) == 0
    assert "Metrics: mean over 2 trainings of each model." in capsys.readouterr().out
    assert run("--data-root", data_root, "--draws", DRAWS) == 0
    assert "mean over" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["moco"], "'moco' is not in this study: choose among random, mae, hog, odd"),
        (["--reference", "moco"], "'moco' is not in this study"),
        (
            ["--task", "density"],
            "random was not evaluated on the task 'density': choose",
        ),
        (["--metric", "auc_macro"], "no metric 'auc_macro' for a binary task: choose among auc,"),
        (["--metric", "luck"], "no metric 'luck': choose among"),
        (["random"], "there is no other method to compare with 'random'"),
        (["--protocol", "finetuned"], "'random' was not fine-tuned in this study: choose method"),
        (["--draws", "3"], "bootstrap_draws: Input should be greater than or equal to 100"),
        (["--data-root", "nowhere"], "no predictions under nowhere/07_model_output: kedro run"),
    ],
)
def test_errors_are_one_line_without_a_traceback(data_root, capsys, arguments, words):
    assert run("--data-root", data_root, *arguments) == 1
    output = capsys.readouterr()
    assert output.out == "" and words in output.err and output.err.count("\n") == 1
