"""`miram evaluate`: a study's own metrics from its files, peers beside them, errors on a line."""

import hashlib
import json
import shutil

import numpy as np
import pandas as pd
import pytest
from forty_patients import evaluations, lesions_of_40_patients
from miram_command import call_miram as run
from miram_command import run_miram
from project_paths import PROJECT

from miram.mammography.pseudonyms import pseudonymize, with_pseudonyms

DRAWS = 100


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """What a study of two methods leaves behind: labels, predictions, metrics."""
    folder = tmp_path_factory.mktemp("study")
    lesions_of_40_patients().to_parquet(folder / "lesions.parquet")
    for method, found in evaluations({"random": 0.0, "mae": 1.0}, DRAWS):
        (folder / method).mkdir()
        found.predictions.to_parquet(folder / method / "predictions.parquet")
        (folder / method / "metrics.json").write_text(json.dumps(found.metrics))
    return folder


def predictions(files, method):
    return files / method / "predictions.parquet"


def asked(files, *arguments):
    return ("evaluate", *arguments, "--labels", files / "lesions.parquet", "--draws", DRAWS)


def test_the_files_of_a_study_give_the_metrics_of_its_metrics(files, capsys):
    both = [predictions(files, method) for method in ("random", "mae")]
    assert run(*asked(files, *both, "--json")) == 0
    (line,) = capsys.readouterr().out.splitlines()
    models = json.loads(line)["models"]
    assert list(models) == ["random", "mae"], "called like the folders of their predictions"
    for method, found in models.items():
        metrics = json.loads((files / method / "metrics.json").read_text())
        expected = metrics["tasks"]["pathology"]["metrics"]
        assert len(found["metrics"]) == len(expected)
        for name, interval in found["metrics"].items():
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
    assert "The most frequent answer has an accuracy of 0.650." in text
    assert "Holm over 1 model" in text


def test_means_over_trainings_are_called_so(files, tmp_path, capsys):
    one = pd.read_parquet(predictions(files, "mae"))
    other = pd.read_parquet(predictions(files, "random")).assign(seed=1)
    pd.concat([one, other]).to_parquet(tmp_path / "twice.parquet")
    assert run(*asked(files, tmp_path / "twice.parquet", predictions(files, "mae"))) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "Metrics: mean over trainings, 2 of twice." in text
    assert "SD over seeds" in text
    assert run(*asked(files, predictions(files, "mae"))) == 0
    text = capsys.readouterr().out
    assert "mean over" not in text and "SD over seeds" not in text


def test_metrics_are_written_as_a_table_with_n_and_interval(files, tmp_path, capsys):
    place = tmp_path / "new" / "metrics.csv"
    models = [predictions(files, "mae"), f"untrained={predictions(files, 'random')}"]
    assert run(*asked(files, *models, "--reference", "untrained", "--output", place)) == 0
    table = pd.read_csv(place)
    assert table["method"].unique().tolist() == ["mae", "untrained"]
    assert table[["estimate", "lower", "upper", "lesions", "patients"]].notna().all().all()
    metrics = json.loads((files / "mae" / "metrics.json").read_text())
    area = table.query("method == 'mae' and metric == 'auc'").iloc[0]
    assert area["estimate"] == metrics["tasks"]["pathology"]["metrics"]["auc"]["estimate"]
    assert area["reference"] == "untrained" and 0 < area["p_holm"] <= 1


def test_few_patients_and_what_is_left_out_are_said(files, tmp_path, capsys):
    few = pd.read_parquet(predictions(files, "mae")).head(30)
    few.to_parquet(tmp_path / "few.parquet")
    assert run(*asked(files, tmp_path / "few.parquet")) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert f"{few['patient_id'].nunique()} patients are too few for a verdict." in text
    assert "50 lesions of the label table have no score." in text


def test_models_of_one_name_are_distinguished_by_the_user(files, capsys):
    path = predictions(files, "mae")
    assert run(*asked(files, path, path)) == 1
    error = capsys.readouterr().err
    assert "holds a second model 'mae': give it another name, mae2=" in error
    assert run(*asked(files, path, f"mae2={path}", "--json")) == 0


def test_evaluated_training_lesions_are_reported_before_any_metric(files, tmp_path, capsys):
    lesions = lesions_of_40_patients()
    sides = ["train" if row < 60 else "test" for row in range(len(lesions))]
    lesions.assign(official_split=sides).to_csv(tmp_path / "labels.csv", index=False)
    lesions[["lesion_id"]].assign(score=0.5).to_csv(tmp_path / "peer.csv", index=False)
    given = ("evaluate", tmp_path / "peer.csv", "--labels", tmp_path / "labels.csv")
    assert run(*given, "--draws", DRAWS) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert text.startswith("WARNING: 60 of 80 evaluated lesions are of the official training part")
    assert run(*given, "--draws", DRAWS, "--part", "official_split=test") == 0
    assert "WARNING" not in capsys.readouterr().out


def test_results_name_the_files_that_they_came_from(files, tmp_path, capsys):
    place, path = tmp_path / "metrics.csv", predictions(files, "mae")
    assert run(*asked(files, path, "--output", place, "--json")) == 0
    digests = {
        str(one): hashlib.sha256(one.read_bytes()).hexdigest()[:12]
        for one in (path, files / "lesions.parquet")
    }
    assert json.loads(capsys.readouterr().out)["sha256"] == digests
    columns = pd.read_csv(place, dtype=str)[["scores_sha256", "labels_sha256"]].drop_duplicates()
    assert columns.to_numpy().tolist() == [list(digests.values())]


@pytest.mark.parametrize("place", ["folder", "file.csv/metrics.csv"])
def test_a_place_that_cannot_be_written_to_costs_no_metric(files, tmp_path, capsys, place):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file.csv").write_text("")
    arguments = (predictions(files, "mae"), "--output", tmp_path / place)
    assert run(*asked(files, *arguments)) == 1
    output = capsys.readouterr()
    assert "80 lesions of 40 patients" in output.out
    assert "cannot write" in output.err and output.err.count("\n") == 1
    assert [one.name for one in tmp_path.glob(".*")] == []


def test_the_protocol_of_a_file_that_has_no_other_is_said(files, tmp_path, capsys):
    table = pd.read_parquet(predictions(files, "mae")).assign(protocol="finetuned")
    table.to_parquet(tmp_path / "ft.parquet")
    models = (tmp_path / "ft.parquet", predictions(files, "random"), "--reference", "random")
    assert run(*asked(files, *models)) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "The scores of ft are of the protocol finetuned, the only one it has." in text
    assert "auc minus that of random" in text


@pytest.fixture
def graded(tmp_path):
    """Labels with a grade, and scores of it."""
    lesions = lesions_of_40_patients()
    grade = ["low" if row % 4 < 2 else "high" for row in range(len(lesions))]
    lesions.assign(grade=grade).to_csv(tmp_path / "labels.csv", index=False)
    scores = [0.2 if one == "low" else 0.7 for one in grade]
    lesions[["lesion_id"]].assign(high=scores).to_csv(tmp_path / "peer.csv", index=False)
    return ("evaluate", tmp_path / "peer.csv", "--labels", tmp_path / "labels.csv", "--json")


def test_a_column_and_its_classes_are_a_task(graded, capsys):
    assert run(*graded, "--column", "grade", "--classes", "low, high", "--draws", DRAWS) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["task"] == "grade"
    peer = found["models"]["peer"]
    assert peer["classes"] == ["low", "high"] and peer["metrics"]["auc"]["estimate"] == 1
    assert run(*graded, "--column", "grade") == 1
    assert "needs both --column and --classes" in capsys.readouterr().err


@pytest.mark.slow
def test_the_own_tasks_of_a_project_can_be_asked_in_it(graded, tmp_path):
    project = tmp_path / "project"
    for folder in ("base", "local"):
        (project / "conf" / folder).mkdir(parents=True)
    (project / "src").mkdir()
    shutil.copy(PROJECT / "conf" / "logging.yml", project / "conf")
    (project / "pyproject.toml").write_text(
        '[tool.kedro]\npackage_name = "miram"\nproject_name = "mine"\n'
        'kedro_init_version = "1.0.0"\nsource_dir = "src"\n'
    )
    task = "{ name: grading, kind: binary, column: grade, classes: [low, high] }"
    (project / "conf" / "base" / "parameters.yml").write_text(
        f"evaluation:\n  own_tasks:\n    - {task}\n"
    )
    done = run_miram(*graded, "--task", "grading", "--draws", DRAWS, folder=project)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["task"] == "grading"
    assert found["models"]["peer"]["classes"] == ["low", "high"]


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
def test_errors_are_one_line_without_a_traceback(
    files, tmp_path, monkeypatch, capsys, arguments, words
):
    monkeypatch.chdir(tmp_path)  # in no project, whose own tasks would be read
    given = [predictions(files, word) if word == "mae" else word for word in arguments]
    assert run("evaluate", "--labels", files / "lesions.parquet", *given) == 1
    output = capsys.readouterr()
    assert output.out == "" and words in output.err and output.err.count("\n") == 1


@pytest.mark.parametrize("own", ["scores", "labels"])
def test_own_names_of_lesions_find_the_pseudonyms_of_the_study(files, tmp_path, capsys, own):
    lesions, scores = lesions_of_40_patients(), pd.read_parquet(predictions(files, "mae"))
    hidden, identities = pseudonymize(lesions, b"k" * 16)
    of_study = with_pseudonyms(scores, identities)
    assert not set(of_study["lesion_id"]) & set(scores["lesion_id"])
    identities.to_parquet(tmp_path / "identities.parquet")
    hidden.to_parquet(tmp_path / "lesions.parquet")
    of_study.to_parquet(tmp_path / "scores.parquet")
    (lesions if own == "labels" else hidden).to_parquet(tmp_path / "labels.parquet")
    (scores if own == "scores" else of_study).to_parquet(tmp_path / "given.parquet")
    entries = []
    for table, labels in (("given", "labels"), ("scores", "lesions")):
        command = ("evaluate", tmp_path / f"{table}.parquet", "--draws", DRAWS, "--json")
        assert run(*command, "--labels", tmp_path / f"{labels}.parquet") == 0
        entries += json.loads(capsys.readouterr().out)["models"].values()
    assert entries[0] == entries[1]
    assert entries[0]["lesions"] == 80


def test_identities_that_are_asked_for_have_to_be_there(files, tmp_path, capsys):
    there = predictions(files, "mae")
    assert run(*asked(files, there, "--identities", tmp_path / "none.parquet")) == 1
    assert "there is no file" in capsys.readouterr().err
