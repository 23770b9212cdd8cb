"""Tasks on the lesion table: labels, several labels, and what is left out, with reasons."""

import numpy as np
import pandas as pd
import pytest
from project_paths import SHARED_DATA
from pydantic import ValidationError

from miram.errors import MiramError
from miram.evaluation.tasks.definitions import TASKS, TaskConfig
from miram.evaluation.tasks.targets import task_targets

CSVS = SHARED_DATA / "cbis_ddsm" / "csv"
MULTI = {
    "mass_shape": "mass shape",
    "mass_margins": "mass margins",
    "calc_type": "calc type",
    "calc_distribution": "calc distribution",
}


@pytest.fixture(scope="module")
def cbis():
    if not CSVS.is_dir():
        pytest.skip("the CBIS-DDSM tables are not beside this checkout")
    frames = []
    for kind in ("mass", "calc"):
        for split in ("train", "test"):
            path = CSVS / f"{kind}_case_description_{split}_set.csv"
            frame = pd.read_csv(path).rename(columns={"breast_density": "breast density"})
            frames.append(frame.assign(official_split=split))
    table = pd.concat(frames, ignore_index=True)
    lists = {
        new: table[old].map(lambda cell: cell.split("-") if isinstance(cell, str) else None)
        for new, old in MULTI.items()
    }
    return pd.DataFrame(
        {
            "patient_id": table["patient_id"],
            "abnormality_type": table["abnormality type"],
            "pathology": table["pathology"],
            "density": table["breast density"].astype("Int64"),
            "assessment": table["assessment"].astype("Int64"),
            "official_split": table["official_split"],
            **lists,
        }
    )


def counts(targets, split):
    return np.bincount(targets.labels[split[targets.rows] == "test"]).tolist()


def test_the_papers_four_classes_have_the_known_counts(cbis):
    split = cbis["official_split"].to_numpy()
    targets = task_targets(cbis, TASKS["pathology4"], split=split)
    assert targets.classes == ("benign mass", "malignant mass", "benign calc", "malignant calc")
    assert counts(targets, split) == [231, 147, 197, 129]
    assert np.bincount(targets.labels).tolist() == [912, 784, 1199, 673]
    assert targets.without_callback == "benign" and targets.skipped == ()


def test_lesions_without_callback_can_be_dropped(cbis):
    targets = task_targets(cbis, TASKS["pathology"], "drop")
    (row,) = targets.skipped
    assert (row.what, row.lesions) == ("lesions", 104 + 37 + 474 + 67)
    assert np.bincount(targets.labels).tolist() == [577 + 194 + 528 + 130, 784 + 673]
    assert targets.without_callback == "drop"


def test_the_class_lists_are_the_labels_that_occur_in_cbis(cbis):
    for name, expected in (
        ("mass_shape", 8),
        ("mass_margins", 5),
        ("calc_type", 13),
        ("calc_distribution", 5),
    ):
        found = {label for cell in cbis[name].dropna() for label in cell}
        merged = {TASKS[name].merge.get(label, label) for label in found}
        assert merged == set(TASKS[name].classes)
        assert len(merged) == expected


def test_classes_that_the_test_split_lacks_are_dropped_by_name(cbis):
    targets = task_targets(cbis, TASKS["calc_type"], split=cbis["official_split"])
    dropped = {row.what for row in targets.skipped if row.what.startswith("class")}
    assert {"class LARGE_RODLIKE", "class DYSTROPHIC", "class MILK_OF_CALCIUM"} <= dropped
    assert len(targets.classes) == 13 - len(dropped) == targets.labels.shape[1]
    assert targets.supported
    reasons = {row.reason: row.lesions for row in targets.skipped if row.what == "lesions"}
    assert reasons == {"calc_type is missing": 24, "not a calcification": 1696}


@pytest.mark.parametrize(
    ("name", "lesions", "words"),
    [
        ("density", 2, "found '0' x2; expected 1, 2, 3, 4"),
        ("assessment", 238 + 3, "found '0' x238, '1' x3; expected 2, 3, 4, 5"),
    ],
)
def test_ordinal_tasks_leave_out_what_is_no_class(cbis, name, lesions, words):
    targets = task_targets(cbis, TASKS[name], split=cbis["official_split"])
    assert targets.supported and len(targets.classes) == 4
    (row,) = targets.skipped
    assert row.lesions == lesions
    assert row.reason == f"value is none of the classes ({words})"


def small_table():
    return pd.DataFrame(
        {
            "patient_id": [f"P_{i:05d}" for i in range(12)],
            "abnormality_type": ["mass"] * 8 + ["calcification"] * 4,
            "pathology": ["BENIGN", "MALIGNANT"] * 6,
            "mass_margins": [["SPICULATED", "OBSCURED"], ["OBSCURED"], ["SPICULATED"], None] * 3,
            "density": pd.array([1, 2, 3, 4] * 3, dtype="Int64"),
            "side": ["LEFT", "RIGHT", None] * 4,
        }
    )


def test_a_lesion_with_several_labels_has_them_all():
    task = TASKS["mass_margins"].model_copy(update={"min_patients": 1})
    targets = task_targets(small_table(), task)
    assert targets.classes == ("OBSCURED", "SPICULATED")
    np.testing.assert_array_equal(targets.rows, [0, 1, 2, 4, 5, 6])
    np.testing.assert_array_equal(targets.labels[:3], [[1, 1], [1, 0], [0, 1]])


def test_a_class_missing_on_one_side_of_the_split_ends_a_single_label_task():
    table = small_table()
    split = np.where(table["density"] == 4, "train", np.where(np.arange(12) < 6, "train", "test"))
    task = TASKS["density"].model_copy(update={"min_patients": 1})
    targets = task_targets(table, task, split=split)
    assert not targets.supported
    assert targets.skipped[-1].reason == "4: 0 patients with it in test, 1 needed"


def test_lesions_in_no_split_are_left_out():
    split = ["train", "val", "test", None] * 3
    task = TASKS["pathology"].model_copy(update={"min_patients": 1})
    targets = task_targets(small_table(), task, split=split)
    assert not set(targets.rows) & {3, 7, 11}
    first = targets.skipped[0]
    assert (first.lesions, first.reason) == (3, "in no split")


def test_lesions_dropped_for_leakage_are_called_so():
    split = ["train", "dropped", "test"] * 4
    task = TASKS["pathology"].model_copy(update={"min_patients": 1})
    (row,) = task_targets(small_table(), task, split=split).skipped
    assert row.lesions == 4 and "both parts of the split (splits.leakage=drop)" in row.reason


def test_a_task_that_strange_values_end_shows_the_most_frequent_of_them():
    letters = small_table().assign(density=list("aaabbcdefghi"))
    reason = task_targets(letters, TASKS["density"]).skipped[-1].reason
    assert "(found 'a' x3, 'b' x2, 'c' x1, 'd' x1, 'e' x1, 4 more; expected 1, 2, 3, 4)" in reason
    high = TaskConfig(name="high", column="density", kind="binary", positive=("3",))
    reason = task_targets(letters, high).skipped[-1].reason
    assert "found 'a' x3" in reason and reason.endswith("expected 3)")
    rare = small_table().assign(density=["3", *["1"] * 11])
    assert "found" not in task_targets(rare, high).skipped[-1].reason


def test_any_column_is_a_task_by_configuration():
    table = small_table()
    side = task_targets(table, TaskConfig(name="side", column="side", kind="single"))
    assert side.classes == ("LEFT", "RIGHT")
    assert side.labels.tolist() == [0, 1] * 4
    assert side.skipped[0].reason == "side is missing"
    dense = TaskConfig(name="dense", column="density", kind="binary", positive=("3", "4"))
    targets = task_targets(table, dense)
    assert targets.labels.tolist() == [0, 0, 1, 1] * 3
    assert targets.classes == ("not 3/4", "3/4")


def test_a_column_that_is_not_there_is_reported():
    with pytest.raises(MiramError, match="'assessment' needs assessment"):
        task_targets(small_table(), TASKS["assessment"])


@pytest.mark.parametrize(
    "wrong",
    [
        {"kind": "binary"},
        {"kind": "binary", "classes": ("a", "b"), "values": ("x",)},
        {"kind": "single", "positive": ("a",)},
    ],
)
def test_contradictory_tasks_are_refused(wrong):
    with pytest.raises(ValidationError):
        TaskConfig(name="x", column="y", **wrong)
