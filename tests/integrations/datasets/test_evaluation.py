"""The evaluation of a method in the catalog: the files that users know, whole or not at all."""

import json

import pandas as pd
import pytest
from kedro.io.core import DatasetError, Version

from miram.evaluation.results import Evaluation
from miram.integrations.datasets.evaluation import EvaluationDataset, FinetunedMetrics

PREDICTIONS = pd.DataFrame({"lesion_id": ["a", "b"], "score": [0.25, 0.75]})
SUBGROUPS = pd.DataFrame({"subgroup": ["density"], "value": ["3"], "estimate": [0.5]})
EFFICIENCY = pd.DataFrame(columns=["task", "share"])


def dataset(folder, name="metrics.json", save="2026-01-02T03.04.05.678Z"):
    return EvaluationDataset(str(folder / name), Version(None, save))


@pytest.mark.parametrize("prefix", ["", "finetuned_"])
def test_what_is_saved_is_loaded_from_files_that_users_know(tmp_path, prefix):
    saved = dataset(tmp_path, f"{prefix}metrics.json")
    assert not saved.exists()
    given = Evaluation({"tasks": {}}, PREDICTIONS, subgroups=SUBGROUPS, label_efficiency=EFFICIENCY)
    saved.save(given)
    assert sorted(path.name for path in tmp_path.glob("[!.]*")) == sorted(
        f"{prefix}{name}"
        for name in ("metrics.json", "predictions.parquet", "subgroups.csv", "label_efficiency.csv")
    )
    found = dataset(tmp_path, f"{prefix}metrics.json").load()
    assert found.metrics == given.metrics
    pd.testing.assert_frame_equal(found.predictions, PREDICTIONS)
    assert found.subgroups["value"].tolist() == ["3"], "a name, no number"
    assert list(found.label_efficiency) == ["task", "share"] and found.calibration.empty
    assert {path.name for path in saved.artifacts} == {
        f"{prefix}{name}.{suffix}"
        for name, suffix in (
            ("predictions", "parquet"),
            ("subgroups", "csv"),
            ("label_efficiency", "csv"),
        )
    }


def test_every_version_of_the_metrics_is_kept_and_tables_of_an_earlier_run_go(tmp_path):
    dataset(tmp_path).save(Evaluation({"seed": 1}, PREDICTIONS, calibration=SUBGROUPS))
    dataset(tmp_path, save="2026-02-02T03.04.05.678Z").save(Evaluation({"seed": 2}, PREDICTIONS))
    assert not (tmp_path / "calibration.csv").exists()
    assert dataset(tmp_path).load().metrics == {"seed": 2}
    older = Version("2026-01-02T03.04.05.678Z", None)
    assert EvaluationDataset(str(tmp_path / "metrics.json"), older).load().metrics == {"seed": 1}


def written(folder, method, version, content):
    place = folder / method / "finetuned_metrics.json" / version
    place.mkdir(parents=True)
    (place / "finetuned_metrics.json").write_text(json.dumps(content))


def test_the_newest_fine_tuned_metrics_of_every_method_are_read_perhaps_none(tmp_path):
    assert FinetunedMetrics(str(tmp_path / "nowhere")).load() == {}
    written(tmp_path, "mae", "2026-01-02T03.04.05.678Z", {"seeds": [1]})
    written(tmp_path, "mae", "2026-02-02T03.04.05.678Z", {"seeds": [2]})
    written(tmp_path, "random", "2026-01-02T03.04.05.678Z", {"seeds": [3]})
    (tmp_path / "moco_v3").mkdir()
    found = FinetunedMetrics(str(tmp_path))
    assert found.exists() and found.load() == {"random": {"seeds": [3]}, "mae": {"seeds": [2]}}
    with pytest.raises(DatasetError, match="no output of a node"):
        found.save({})


def test_a_subgroup_named_like_a_formula_is_harmless_and_numbers_stay(tmp_path):
    table = SUBGROUPS.assign(value=["=HYPERLINK(1)"], estimate=[-0.5])
    dataset(tmp_path).save(Evaluation({"tasks": {}}, PREDICTIONS, subgroups=table))
    found = (tmp_path / "subgroups.csv").read_text()
    assert found == "subgroup,value,estimate\ndensity,'=HYPERLINK(1),-0.5\n"
