"""`miram evaluate`: a study's own figures from its files, peers beside them, errors on a line."""

import json

import numpy as np
import pandas as pd
import pytest
from forty_patients import lesions_of_40_patients

from miram.commands.app import main
from miram.evaluation.assessment import AssessmentConfig, assess_features
from miram.evaluation.fold_features import WHOLE
from miram.evaluation.probe import LinearProbeConfig
from miram.mammography.splits import SplitConfig, assign_splits

DRAWS = 100


def run(*arguments):
    with pytest.raises(SystemExit) as caught:
        main([str(argument) for argument in arguments])
    return caught.value.code or 0


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """What a study of two methods leaves behind: labels, predictions, figures."""
    folder = tmp_path_factory.mktemp("study")
    lesions = lesions_of_40_patients()
    lesions.to_parquet(folder / "lesions.parquet")
    splits = assign_splits(lesions, SplitConfig(strategy="cv", folds=3))
    config = AssessmentConfig(
        bootstrap_draws=DRAWS, linear_probe=LinearProbeConfig(regularization=(0.1,))
    )
    malignant = lesions["pathology"].eq("MALIGNANT").to_numpy(float)
    for method, strength in (("random", 0.0), ("mae", 1.0)):
        features = np.random.default_rng(0).normal(size=(len(lesions), 4))
        features[:, 0] += strength * malignant
        found = assess_features({WHOLE: features}, lesions, splits, config)
        (folder / method).mkdir()
        found.predictions.to_parquet(folder / method / "predictions.parquet")
        (folder / method / "metrics.json").write_text(json.dumps(found.metrics))
    return folder


def predictions(files, method):
    return files / method / "predictions.parquet"


def asked(files, *arguments):
    return ("evaluate", *arguments, "--labels", files / "lesions.parquet", "--draws", DRAWS)


def test_the_files_of_a_study_give_the_figures_of_its_metrics(files, capsys):
    both = [predictions(files, method) for method in ("random", "mae")]
    assert run(*asked(files, *both, "--json")) == 0
    (line,) = capsys.readouterr().out.splitlines()
    models = json.loads(line)["models"]
    assert list(models) == ["random", "mae"], "called like the folders of their predictions"
    for method, found in models.items():
        metrics = json.loads((files / method / "metrics.json").read_text())
        expected = metrics["tasks"]["pathology"]["figures"]
        assert len(found["figures"]) == len(expected)
        for name, interval in found["figures"].items():
            for field in ("estimate", "lower", "upper"):
                assert interval[field] == expected[name][field]


def test_a_peers_table_stands_beside_ours_for_people(files, tmp_path, capsys):
    ours = pd.read_parquet(predictions(files, "mae"))
    theirs = ours[["lesion_id"]].assign(malignant=np.linspace(0, 1, len(ours)))
    theirs.to_csv(tmp_path / "peer.csv", index=False)
    arguments = [predictions(files, "mae"), tmp_path / "peer.csv", "--reference", "mae"]
    assert run(*asked(files, *arguments)) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "pathology (benign, malignant): 80 lesions of 40 patients" in text
    assert "auc, DeLong" in text and "auc minus that of mae" in text
    assert "Always answering 'benign' has an accuracy of 0.650" in text
    assert "Holm over 1 model" in text


def test_means_over_trainings_are_called_so(files, tmp_path, capsys):
    one = pd.read_parquet(predictions(files, "mae"))
    other = pd.read_parquet(predictions(files, "random")).assign(seed=1)
    pd.concat([one, other]).to_parquet(tmp_path / "twice.parquet")
    assert run(*asked(files, tmp_path / "twice.parquet", predictions(files, "mae"))) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "Figures: mean over trainings, 2 of twice; DeLong is for one." in text
    assert "SD over seeds" in text
    assert run(*asked(files, predictions(files, "mae"))) == 0
    text = capsys.readouterr().out
    assert "mean over" not in text and "SD over seeds" not in text


def test_figures_are_written_as_a_table_with_n_and_interval(files, tmp_path, capsys):
    place = tmp_path / "new" / "figures.csv"
    models = [predictions(files, "mae"), f"untrained={predictions(files, 'random')}"]
    assert run(*asked(files, *models, "--reference", "untrained", "--output", place)) == 0
    table = pd.read_csv(place)
    assert table["method"].unique().tolist() == ["mae", "untrained"]
    assert table[["estimate", "lower", "upper", "lesions", "patients"]].notna().all().all()
    metrics = json.loads((files / "mae" / "metrics.json").read_text())
    area = table.query("method == 'mae' and figure == 'auc'").iloc[0]
    assert area["estimate"] == metrics["tasks"]["pathology"]["figures"]["auc"]["estimate"]
    assert area["reference"] == "untrained" and 0 < area["p_holm"] <= 1


def test_few_patients_and_what_is_left_out_are_said(files, tmp_path, capsys):
    few = pd.read_parquet(predictions(files, "mae")).head(30)
    few.to_parquet(tmp_path / "few.parquet")
    assert run(*asked(files, tmp_path / "few.parquet")) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert f"{few['patient_id'].nunique()} patients are too few for a verdict." in text
    assert "50 lesions of the label table have no score." in text


def test_models_of_one_name_are_told_apart_by_the_user(files, capsys):
    path = predictions(files, "mae")
    assert run(*asked(files, path, path)) == 1
    error = capsys.readouterr().err
    assert "holds a second model 'mae': give it another name, mae2=" in error
    assert run(*asked(files, path, f"mae2={path}", "--json")) == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["none.csv"], "there is no file none.csv"),
        (["mae", "--reference", "moco"], "the reference 'moco' is none of the models: mae"),
        (["mae", "--task", "cancer"], "unknown task 'cancer': choose among"),
        (["mae", "--draws", "3"], "draws: Input should be greater than or equal to 100"),
        (["mae", "--without-callback", "keep"], "without_callback: Input should be"),
    ],
)
def test_errors_are_one_line_without_a_traceback(files, capsys, arguments, words):
    given = [predictions(files, word) if word == "mae" else word for word in arguments]
    assert run("evaluate", "--labels", files / "lesions.parquet", *given) == 1
    output = capsys.readouterr()
    assert output.out == "" and words in output.err and output.err.count("\n") == 1
