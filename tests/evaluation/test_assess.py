"""All tasks of one encoder: honest, complete, and the same however the rows are ordered."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from pydantic import ValidationError
from sample_lesions import FEW_FITS
from scipy import stats
from threadpoolctl import threadpool_limits

from miram.errors import MiramError
from miram.evaluation.assess import assess_features
from miram.evaluation.config import AssessmentConfig
from miram.evaluation.predictions import task_scores
from miram.evaluation.probes.scoring import WHOLE
from miram.evaluation.statistics.calibration import apply_temperature
from miram.evaluation.statistics.metrics import metrics_of
from miram.evaluation.tasks.definitions import TASKS, TaskConfig

ALL = {"tasks": "all", "protocols": "all"}
A_TASK_OF_EACH_KIND = {"tasks": "pathology4+pathology+mass_margins", "protocols": "all"}


def config(**options):
    return AssessmentConfig.model_validate(
        {"bootstrap_draws": 100, "linear_probe": FEW_FITS, **options}
    )


def assess(given, **options):
    return assess_features({WHOLE: given.features}, given.lesions, given.splits, config(**options))


def entry_metrics(found, task="pathology", protocol="linear"):
    entry = found.metrics["tasks"][task]
    entry = entry if protocol == "linear" else entry["protocols"][protocol]
    return entry["metrics"]


@pytest.fixture(scope="module")
def given(sample):
    return sample()


@pytest.fixture(scope="module")
def everything(given):
    """Every task by every protocol."""
    return assess(given, **ALL)


def test_all_tasks_and_protocols_run_in_one_go_and_every_metric_has_its_interval(everything):
    assert list(everything.metrics["tasks"]) == list(TASKS)
    for name, entry in everything.metrics["tasks"].items():
        assert list(entry["protocols"]) == ["mae_probe", "knn"]
        for protocol in AssessmentConfig.known_protocols():
            found = entry_metrics(everything, name, protocol)
            assert tuple(found) == metrics_of(entry["kind"])
            assert all(one["lower"] <= one["upper"] for one in found.values())
        assert entry["lesions"] >= entry["patients"] > 1
        assert all(part["lesions"] > part["patients"] > 1 for part in entry["training"])


def test_further_tasks_and_protocols_change_nothing_about_the_linear_probe(given, everything):
    alone = assess(given, tasks="pathology4")
    entry = everything.metrics["tasks"]["pathology4"]
    assert alone.metrics["tasks"] == {"pathology4": {**entry, "protocols": {}}}
    table = everything.predictions
    linear = table[(table["protocol"] == "linear") & (table["task"] == "pathology4")]
    pd.testing.assert_frame_equal(alone.predictions, linear.reset_index(drop=True))


@pytest.fixture(scope="module")
def each_kind(given):
    return assess(given, **A_TASK_OF_EACH_KIND)


def test_nothing_depends_on_the_order_of_rows(given, each_kind):
    turned = given.take(np.random.default_rng(5).permutation(len(given.splits)))
    turned.lesions = given.lesions.sample(frac=1, random_state=0)
    found = assess(turned, **A_TASK_OF_EACH_KIND)
    assert found.metrics == each_kind.metrics
    pd.testing.assert_frame_equal(found.predictions, each_kind.predictions)


def test_nothing_depends_on_the_number_of_threads(given, each_kind):
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        with threadpool_limits(3):
            found = assess(given, **A_TASK_OF_EACH_KIND)
    finally:
        torch.set_num_threads(before)
    assert found.metrics == each_kind.metrics
    pd.testing.assert_frame_equal(found.predictions, each_kind.predictions)


@pytest.mark.parametrize("strategy", ["official", "cv"])
def test_a_probe_on_features_that_carry_the_label_reaches_their_ceiling(sample, strategy):
    given = sample(900, signal=1.5, strategy=strategy, seed=3)
    found = assess(given, protocols="all")
    ceiling = stats.norm.cdf(1.5 / np.sqrt(2))  # of the best possible reader of feature 0
    for protocol, margin in (("linear", 0.025), ("mae_probe", 0.025)):
        assert entry_metrics(found, protocol=protocol)["auc"]["estimate"] == pytest.approx(
            ceiling, abs=margin
        )
    assert 0.6 < entry_metrics(found, protocol="knn")["auc"]["estimate"] < ceiling


def test_planted_permuted_labels_give_chance(sample):
    given = sample(400, signal=3.0)
    by_patient = given.lesions.drop_duplicates("patient_id").set_index("patient_id")["pathology"]
    planted = by_patient.sample(frac=1, random_state=1).set_axis(by_patient.index)
    given.lesions["pathology"] = given.lesions["patient_id"].map(planted)
    found = assess(given, protocols="all")
    for protocol in AssessmentConfig.known_protocols():
        auc = entry_metrics(found, protocol=protocol)["auc"]
        assert auc["lower"] < 0.5 < auc["upper"]


def test_a_planted_patient_leak_is_caught(given):
    splits = given.splits.copy()
    patient = splits.loc[splits["split"] == "test", "patient_id"].value_counts().index[0]
    rows = splits.index[splits["patient_id"] == patient]
    splits.loc[rows[0], "split"] = "train"
    with pytest.raises(MiramError, match=f"patient {patient} is in training and evaluation"):
        assess_features({WHOLE: given.features}, given.lesions, splits, config())
    kept = assess_features(
        {WHOLE: given.features}, given.lesions, splits.assign(leakage="official"), config()
    )
    assert kept.metrics["leakage"] == "official"


def test_labels_of_evaluated_lesions_do_not_reach_scores_or_temperature(given):
    evaluated = given.splits["split"].eq("test").to_numpy()
    flipped = given.lesions.copy()
    inside = flipped["lesion_id"].isin(given.splits["lesion_id"][evaluated])
    swap = {"MALIGNANT": "BENIGN", "BENIGN": "MALIGNANT", "BENIGN_WITHOUT_CALLBACK": "MALIGNANT"}
    flipped.loc[inside, "pathology"] = flipped.loc[inside, "pathology"].map(swap)
    first = assess(given, protocols="all")
    second = assess_features(
        {WHOLE: given.features}, flipped, given.splits, config(protocols="all")
    )
    for column in ("score", "calibrated"):
        pd.testing.assert_series_equal(first.predictions[column], second.predictions[column])
    assert (first.predictions["label"] != second.predictions["label"]).all()
    auc, turned = (entry_metrics(found)["auc"]["estimate"] for found in (first, second))
    assert auc == pytest.approx(1 - turned)


def test_lesions_with_several_labels_are_scored_right(sample):
    given = sample(150)
    names = sorted({name for here in given.lesions["mass_margins"].dropna() for name in here})
    given.features = np.array(
        [[name in (here or ()) for name in names] for here in given.lesions["mass_margins"]], float
    )
    found = assess(given, tasks="mass_margins")
    entry = found.metrics["tasks"]["mass_margins"]
    several = task_scores(found.predictions, "mass_margins").labels.sum(axis=1)
    assert (several > 1).any()
    assert entry["metrics"]["accuracy"]["estimate"] == 1.0
    assert entry["metrics"]["auc_macro"]["estimate"] == 1.0
    for row, (absent, present) in zip(entry["per_class"], entry["confusion_matrix"], strict=True):
        assert row["lesions"] == present[1] == sum(present)
        assert absent == [entry["lesions"] - row["lesions"], 0]


def test_class_rows_and_confusion_matrix_count_every_lesion(everything):
    for entry in everything.metrics["tasks"].values():
        matrix = np.array(entry["confusion_matrix"])
        if entry["kind"] == "multi":
            assert (matrix.sum(axis=(1, 2)) == entry["lesions"]).all()
            continue
        assert matrix.sum() == entry["lesions"]
        accuracy = entry["metrics"]["accuracy"]["estimate"]
        assert np.trace(matrix) / matrix.sum() == pytest.approx(accuracy)
        areas = [row["metrics"]["auc"]["estimate"] for row in entry["per_class"]]
        macro = entry["metrics"]["auc" if entry["kind"] == "binary" else "auc_macro"]["estimate"]
        assert np.mean(areas) == pytest.approx(macro)
        counts = [row["lesions"] for row in entry["per_class"]]
        assert counts == matrix.sum(axis=1)[-len(counts) :].tolist()


def test_delong_stands_beside_the_bootstrap_of_a_binary_area(everything):
    entry = everything.metrics["tasks"]["pathology"]
    delong, auc = entry["delong"], entry["metrics"]["auc"]
    assert delong["estimate"] == pytest.approx(auc["estimate"])
    assert delong["lower"] == pytest.approx(auc["lower"], abs=0.04)
    assert delong["upper"] == pytest.approx(auc["upper"], abs=0.04)
    assert everything.metrics["tasks"]["density"]["delong"] is None


def test_a_temperature_mends_probabilities_that_are_too_sure(sample):
    given = sample(500, signal=0.0, width=60)
    sure = {"regularization": (10.0,)}  # too weak a penalty for 60 features of noise
    entry = assess(given, linear_probe=sure).metrics["tasks"]["pathology"]
    (temperature,) = entry["calibration"]["temperatures"]
    assert temperature > 1.5
    for name in ("ece", "log_loss", "brier"):
        mended = entry["calibration"]["metrics"][name]["estimate"]
        assert mended < entry["metrics"][name]["estimate"]


def test_each_fold_is_mended_by_its_own_temperature(sample):
    found = assess(sample(150, strategy="cv"))
    temperatures = found.metrics["tasks"]["pathology"]["calibration"]["temperatures"]
    assert len(set(temperatures)) == 4
    table = found.predictions
    for fold, temperature in enumerate(temperatures):
        rows = table[table["fold"] == fold]
        expected = apply_temperature(rows["score"], temperature)
        np.testing.assert_allclose(rows["calibrated"], expected)


def test_undefined_draws_are_counted(sample):
    given = sample(60, seed=2)
    tested = given.splits.loc[given.splits["split"] == "test", "patient_id"].unique()
    inside, two = (given.lesions["patient_id"].isin(names) for names in (tested, tested[:2]))
    given.lesions.loc[inside, "pathology"] = "BENIGN"
    given.lesions.loc[two, "pathology"] = "MALIGNANT"
    found = entry_metrics(assess(given))
    assert found["auc"]["undefined_draws"] > 0
    assert found["accuracy"]["undefined_draws"] == 0


def test_a_task_that_the_data_cannot_answer_is_skipped_with_its_reason(given):
    masses = given.lesions["abnormality_type"].eq("mass").to_numpy()
    lesions = given.lesions[masses].copy()
    lesions["mass_shape"] = lesions["mass_shape"].map(
        lambda names: [name for name in names if name != "OVAL"] or None
    )
    part = given.take(np.flatnonzero(masses))
    part.lesions = lesions
    found = assess(part, tasks="pathology4+mass_shape+pathology")
    assert list(found.metrics["tasks"]) == ["mass_shape", "pathology"]
    skipped = {(row["task"], row["what"]): row["reason"] for row in found.metrics["skipped"]}
    assert "benign calc: 0 patients" in skipped["pathology4", "task"]
    assert "0 patients with it in test" in skipped["mass_shape", "class OVAL"]
    assert "OVAL" not in found.metrics["tasks"]["mass_shape"]["classes"]


def test_the_last_penalty_offered_is_warned_of_once_for_each_task_of_a_run(given, caplog):
    found = assess(given, tasks="pathology", linear_probe={**FEW_FITS, "regularization": [1e-3, 1]})
    (said,) = found.metrics["tasks"]["pathology"]["warnings"]
    assert said.endswith("(1 of 1 fits)")
    (record,) = [one for one in caplog.records if "last penalty" in one.getMessage()]
    assert record.once and "pathology" in record.getMessage()


def test_any_column_is_a_task_of_ones_own(sample):
    given = sample(120)
    given.lesions["grade"] = np.where(given.features[:, 1] > 0, "high", "low")
    given.lesions["findings"] = [
        [word for word, here in (("tiny", row[2] > 0), ("dark", row[3] > 0)) if here] or None
        for row in given.features
    ]
    own = (
        TaskConfig(name="grade", column="grade", kind="single"),
        TaskConfig(name="is_high", column="grade", kind="binary", positive=("high",)),
        TaskConfig(name="findings", column="findings", kind="multi", classes=("dark", "tiny")),
    )
    found = assess(given, tasks=["pathology"], own_tasks=own, protocols="all")
    assert list(found.metrics["tasks"]) == ["pathology", "grade", "is_high", "findings"]
    for name in ("grade", "is_high", "findings"):
        metric = "auc" if name == "is_high" else "auc_macro"
        assert entry_metrics(found, name)[metric]["estimate"] > 0.95
    # One of two classes and the positive one of two are the same question.
    assert entry_metrics(found, "grade")["accuracy"] == entry_metrics(found, "is_high")["accuracy"]


def test_metrics_are_strict_json(everything):
    text = json.dumps(everything.metrics, allow_nan=False)
    assert json.loads(text) == everything.metrics


def test_predictions_are_tidy_and_each_lesion_is_evaluated_once(sample):
    given = sample(100, strategy="cv")
    found = assess(given, tasks="pathology+density", protocols="linear+knn").predictions
    keys = ["protocol", "task", "class", "lesion_id"]
    assert not found.duplicated(keys).any()
    one = found[(found["protocol"] == "knn") & (found["task"] == "pathology")]
    assert sorted(one["lesion_id"]) == sorted(given.splits["lesion_id"])
    folds = given.splits.set_index("lesion_id")["split"].loc[one["lesion_id"]]
    assert (folds.to_numpy() == "fold" + one["fold"].astype(str).to_numpy()).all()
    assert found["calibrated"].isna().equals(found["protocol"].ne("linear"))


def test_names_may_be_joined_in_one_text():
    found = config(tasks="pathology + density", protocols="knn+linear")
    assert (found.tasks, found.protocols) == (("pathology", "density"), ("linear", "knn"))
    assert config(tasks="all").tasks == tuple(TASKS)
    assert config(protocols="all").protocols == AssessmentConfig.known_protocols()


OWN = {"name": "side", "column": "laterality", "kind": "single"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tasks": ["patology"]}, "unknown task 'patology'"),
        ({"tasks": ["side"]}, "unknown task 'side'"),
        ({"own_tasks": [OWN, OWN]}, "a task 'side' already"),
        ({"own_tasks": [OWN | {"name": "density"}]}, "a task 'density' already"),
        ({"protocols": ["knn"]}, "linear has to be among them"),
        ({"protocols": "linear+nearest"}, "nearest"),
        ({"comparison": {"tasks": ["patology"]}}, "unknown task 'patology'"),
        ({"comparison": {"metric": "area"}}, "no metric 'area'"),
        ({"label_efficiency": {"shares": [0.5, 0.1]}}, "ascending"),
    ],
)
def test_impossible_settings_are_reported(options, message):
    with pytest.raises((MiramError, ValidationError), match=message):
        config(**options)


def test_own_tasks_may_be_named_among_the_tasks():
    found = config(tasks=["side", "pathology"], own_tasks=[OWN])
    assert [task.name for task in found.all_tasks()] == ["side", "pathology"]


def test_without_lesions_there_is_nothing_to_probe(given):
    with pytest.raises(MiramError, match="Unlabeled images serve pretraining only"):
        assess(given.take([]))


@pytest.mark.parametrize("name", ["foo", "Density"])
def test_a_subgroup_that_is_no_column_is_refused_and_the_columns_are_named(given, name):
    with pytest.raises(MiramError, match=f"names '{name}', which is no column") as caught:
        assess(given, subgroups=("density", name))
    assert all(str(column) in str(caught.value) for column in given.lesions.columns)


def test_a_table_may_lack_subgroups_of_the_default_and_have_others(given):
    short = given.lesions.drop(columns=["density", "subtlety"]).assign(scanner="A")
    few = config(subgroups=("density", "scanner"))
    assert assess_features({WHOLE: given.features}, short, given.splits, few).metrics["tasks"]
