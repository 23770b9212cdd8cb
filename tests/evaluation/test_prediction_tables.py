"""Reliability curves and subgroups as tables, with their numbers."""

import numpy as np
import pandas as pd
import pytest
from sample_lesions import FEW_FITS

from miram.evaluation.assess import assess_features
from miram.evaluation.config import AssessmentConfig
from miram.evaluation.predictions import (
    CALIBRATION_COLUMNS,
    SUBGROUP_COLUMNS,
    calibration_table,
    evaluated_lesions,
    subgroup_metrics,
    task_scores,
)
from miram.evaluation.probes.scoring import WHOLE
from miram.evaluation.statistics.metrics import compute_metrics
from miram.evaluation.statistics.subgroups import VARIABLES

CONFIG = AssessmentConfig(
    tasks=("pathology", "density", "mass_margins"),
    protocols=("linear", "knn"),
    bootstrap_draws=100,
    linear_probe=FEW_FITS,
)


@pytest.fixture(scope="module")
def given(sample):
    return sample(220)


@pytest.fixture(scope="module")
def assessed(given):
    return assess_features({WHOLE: given.features}, given.lesions, given.splits, CONFIG)


@pytest.fixture(scope="module")
def subgroups(given, assessed):
    return subgroup_metrics(assessed.predictions, given.lesions, assessed.metrics, CONFIG)


@pytest.fixture(scope="module")
def curves(assessed):
    return calibration_table(assessed.predictions, assessed.metrics)


def test_predictions_come_back_as_they_were(assessed, given):
    found = task_scores(assessed.predictions, "density")
    names = evaluated_lesions(assessed.predictions, "density")
    table = given.lesions.set_index("lesion_id").loc[names]
    np.testing.assert_array_equal(found.patients, table["patient_id"])
    labels, seeds = found.of_kind("single")
    (scores,) = seeds.each
    np.testing.assert_array_equal(labels + 1, table["density"])
    np.testing.assert_allclose(scores.sum(axis=1), 1)
    other = task_scores(assessed.predictions, "density", protocol="knn")
    assert np.abs(other.seeds.each[0] - scores).max() > 0.01


def test_the_curve_has_the_error_of_the_metrics_and_counts_every_answer(curves, assessed):
    assert tuple(curves.columns) == CALIBRATION_COLUMNS
    for task, entry in assessed.metrics["tasks"].items():
        per_lesion = len(entry["classes"]) if entry["kind"] == "multi" else 1
        metrics = {
            "none": entry["metrics"],
            "temperature": entry["calibration"]["metrics"],
        }
        for scaling, expected in metrics.items():
            rows = curves[(curves["task"] == task) & (curves["scaling"] == scaling)]
            assert rows["answers"].sum() == entry["lesions"] * per_lesion
            gaps = (rows["confidence"] - rows["frequency"]).abs() * rows["answers"]
            error = gaps.sum() / rows["answers"].sum()
            assert error == pytest.approx(expected["ece"]["estimate"])
            assert rows["bin"].tolist() == list(range(1, len(rows) + 1))
            assert (rows["lower"] <= rows["frequency"]).all()
            assert (rows["frequency"] <= rows["upper"]).all()


def test_a_binary_curve_is_of_the_positive_class(curves, assessed):
    labels, seeds = task_scores(assessed.predictions, "pathology").of_kind("binary")
    (scores,) = seeds.each
    rows = curves[(curves["task"] == "pathology") & (curves["scaling"] == "none")]
    gaps = (rows["confidence"] - rows["frequency"]).abs() * rows["answers"]
    expected = compute_metrics(labels, scores, ["ece"])["ece"]
    assert gaps.sum() / len(labels) == pytest.approx(expected)


def test_every_subgroup_of_every_task_has_its_row_with_numbers(subgroups, assessed):
    assert tuple(subgroups.columns) == SUBGROUP_COLUMNS
    pathology = subgroups[subgroups["task"] == "pathology"]
    assert set(pathology["subgroup"]) == set(VARIABLES)
    entry = assessed.metrics["tasks"]["pathology"]
    for _, rows in pathology.groupby("subgroup"):
        assert rows["lesions"].sum() == entry["lesions"]
    assert (subgroups["lesions"] >= subgroups["patients"]).all()
    assert set(subgroups["strategy"]) == {"official"} and set(subgroups["leakage"]) == {"drop"}


def test_what_a_task_asks_for_is_no_subgroup_of_it(subgroups):
    asked = subgroups[subgroups["task"] == "density"]
    assert "density" not in set(asked["subgroup"])
    margins = subgroups[subgroups["task"] == "mass_margins"]
    assert "abnormality_type" not in set(margins["subgroup"])  # masses only: one value


def test_verdicts_are_of_the_main_metric_and_need_30_patients(subgroups):
    main = subgroups["metric"].isin(["auc", "auc_macro"])
    assert subgroups.loc[main, "verdict"].notna().all()
    assert subgroups.loc[~main, "verdict"].isna().all()
    assert set(subgroups.loc[~main, "metric"]) == {"auc_micro"}
    few = main & (subgroups["patients"] < 30)
    assert few.any()
    assert (subgroups.loc[few, "verdict"] == "too few").all()
    assert subgroups.loc[few, ["difference", "p_value", "p_holm"]].isna().all(axis=None)
    evaluated = subgroups[main & subgroups["p_holm"].notna()]
    assert len(evaluated) and (evaluated["p_holm"] >= evaluated["p_value"]).all()


def test_the_subgroup_in_which_features_say_nothing_is_named(sample):
    given = sample(500, signal=2.5)
    blind = given.lesions["view"].eq("MLO").to_numpy()
    given.features[blind] = np.random.default_rng(0).standard_normal(given.features[blind].shape)
    asked = CONFIG.model_copy(update={"tasks": ("pathology",), "subgroups": ("view",)})
    found = assess_features({WHOLE: given.features}, given.lesions, given.splits, asked)
    rows = subgroup_metrics(found.predictions, given.lesions, found.metrics, asked)
    assert dict(zip(rows["value"], rows["verdict"], strict=True)) == {
        "CC": "higher",
        "MLO": "lower",
    }


def test_missing_and_empty_columns_are_no_subgroups(given, assessed):
    lesions = given.lesions.drop(columns="view").assign(density=pd.NA)
    asked = CONFIG.model_copy(update={"subgroups": ("view", "density", "side of the moon")})
    found = subgroup_metrics(assessed.predictions, lesions, assessed.metrics, asked)
    assert found.empty and tuple(found.columns) == SUBGROUP_COLUMNS


def test_without_any_task_tables_are_empty_but_whole(given):
    metrics = {"strategy": "official", "leakage": "drop", "tasks": {}}
    predictions = pd.DataFrame({"task": [], "lesion_id": []})
    assert tuple(calibration_table(predictions, metrics).columns) == CALIBRATION_COLUMNS
    found = subgroup_metrics(predictions, given.lesions, metrics, CONFIG)
    assert tuple(found.columns) == SUBGROUP_COLUMNS
