"""Labels that come with scores: checked against the label table, whatever shape they have."""

import numpy as np
import pandas as pd
import pytest
from forty_patients import lesions_of_40_patients

from miram.errors import MiramError
from miram.evaluation.score_files.evaluate import ExternalConfig, evaluate_scores
from miram.evaluation.tasks.definitions import TaskConfig

LESIONS = lesions_of_40_patients()
MALIGNANT = LESIONS["pathology"].eq("MALIGNANT").to_numpy(int)
GRADE = TaskConfig(name="grade", kind="single", column="grade", classes=("1", "2", "3"))
GRADED = LESIONS.assign(grade=[str(row % 3 + 1) for row in range(len(LESIONS))])


def table(**columns):
    return pd.DataFrame({"lesion_id": LESIONS["lesion_id"], "score": 0.5, **columns})


def graded(**columns):
    shares = pd.DataFrame({"1": 0.5, "2": 0.3, "3": 0.2}, index=LESIONS["lesion_id"])
    return shares.reset_index().assign(**columns)


def ask(scores, labels=LESIONS, task=None):
    return evaluate_scores({"model": scores}, labels, ExternalConfig(draws=100), task=task)


def test_inverted_labels_of_a_wide_table_are_refused():
    words = rf"label of lesion \S+ for 'malignant' is 0, .* it is 1 \({len(LESIONS)} such labels"
    with pytest.raises(MiramError, match=words):
        ask(table(label=1 - MALIGNANT))


@pytest.mark.parametrize(
    "label",
    [
        MALIGNANT,
        MALIGNANT.astype(float),
        MALIGNANT.astype(bool),
        np.where(MALIGNANT, "Malignant", "BENIGN"),
        np.where(np.arange(len(LESIONS)) > 5, MALIGNANT, np.nan),
    ],
    ids=["0 and 1", "numbers", "flags", "names", "some unknown"],
)
def test_right_labels_change_nothing_and_one_wrong_one_is_found(label):
    assert ask(table(label=label)).models == ask(table()).models
    wrong = np.array(label, copy=True)
    wrong[[20, 21]] = wrong[[18, 19]]  # of another patient
    assert MALIGNANT[20] != MALIGNANT[18]
    with pytest.raises(MiramError, match=r"\(2 such labels\)"):
        ask(table(label=wrong))


def test_labels_that_cannot_be_understood_are_refused():
    with pytest.raises(MiramError, match="is 'sick', expected 0 or 1, or one of benign, malignant"):
        ask(table(label="sick"))
    with pytest.raises(MiramError, match="is '0', expected 1, 2, 3: correct"):
        ask(graded(label=0), GRADED, GRADE)


def test_the_label_of_a_task_with_several_classes_names_its_class():
    assert ask(graded(label=GRADED["grade"].astype(int)), GRADED, GRADE).lesions == len(LESIONS)
    turned = GRADED["grade"].map({"1": "2", "2": "1", "3": "3"})
    with pytest.raises(MiramError, match="says that the label of lesion"):
        ask(graded(label=turned), GRADED, GRADE)


def test_one_label_for_a_task_with_several_labels_is_refused():
    margins = LESIONS.assign(
        abnormality_type="mass", mass_margins=[["OBSCURED"], ["SPICULATED"]] * 40
    )
    scores = table(OBSCURED=0.5, SPICULATED=0.5, label="OBSCURED").drop(columns="score")
    config = ExternalConfig(task="mass_margins", draws=100)
    with pytest.raises(MiramError, match="one column label cannot say which of several"):
        evaluate_scores({"model": scores}, margins, config)
    scores = scores.drop(columns="label")
    assert evaluate_scores({"model": scores}, margins, config).lesions == len(LESIONS)


def test_labels_of_a_long_table_are_found_by_any_spelling_of_the_class():
    long = table(label=1 - MALIGNANT, **{"class": "Malignant"})
    with pytest.raises(MiramError, match="says that the label of lesion"):
        ask(long)
    assert ask(long.assign(label=MALIGNANT)).lesions == len(LESIONS)
    with pytest.raises(MiramError, match=r"the label of lesion .* is 'yes', which is no number"):
        ask(long.assign(label="yes"))
