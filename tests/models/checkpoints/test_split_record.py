"""An encoder is evaluated under no splits by which it has seen an evaluated patient."""

import subprocess
import sys

import pandas as pd
import pytest
from forty_patients import lesions_of_40_patients

from miram.errors import MiramError
from miram.mammography.splits import SplitConfig, assign_splits
from miram.models.checkpoints.split_record import require_same_splits, split_record


def _lesions():
    """Ten patients are tested, two of whom have a training lesion as well."""
    found = lesions_of_40_patients()
    patient = found["patient_id"].str.removeprefix("P_").astype(int)
    test = (patient >= 30) & ~((patient >= 38) & (found.index % 2 == 1))
    return found.assign(
        official_split=test.map({True: "test", False: "train"}), leaks=patient >= 38
    )


LESIONS = _lesions()


def splits(**settings):
    return assign_splits(LESIONS, SplitConfig(**{"strategy": "official", **settings}))


def refusal(record, at_hand):
    """Why an encoder is not evaluated; nothing if it may be."""
    try:
        require_same_splits(record, at_hand)
    except MiramError as error:
        return str(error)
    return ""


@pytest.mark.parametrize(
    "changes",
    [
        {"strategy": "cv"},
        {"leakage": "official"},
        {"seed": 1},
        {"strategy": "cv", "folds": 4},
        {"strategy": "cv", "seed": 3},
    ],
)
@pytest.mark.parametrize("trained", [{}, {"strategy": "cv"}])
def test_an_encoder_that_depends_on_every_part_is_evaluated_under_its_own_splits_alone(
    trained, changes
):
    own, other = splits(**trained), splits(**changes)
    record = split_record(own, by_part=True)
    assert refusal(record, own.sample(frac=1, random_state=0)) == ""
    if not own.equals(other):
        assert "was trained under other splits" in refusal(record, other)
        assert "`kedro run --pipeline pretrain` again" in refusal(record, other)


def test_an_encoder_without_labels_is_not_evaluated_on_patients_it_saw():
    official, leaky, folds = splits(), splits(leakage="official"), splits(strategy="cv")
    for own, other in ((folds, official), (folds, leaky), (leaky, official), (official, leaky)):
        text = refusal(split_record(own, by_part=False), other)
        assert "was trained under other splits" in text
        for name in ("strategy", "leakage"):
            assert f"splits.{name}={own[name].iloc[0]}" in text
    # Under cross-validation every image may be seen; no validation patient is evaluated.
    for own, other in ((official, folds), (folds, folds), (official, splits(seed=1))):
        assert refusal(split_record(own, by_part=False), other) == ""


def test_other_test_lesions_under_the_same_policy_are_reported_as_such():
    own, others = splits(), splits()
    others = others.assign(split=others["split"].map({"test": "train"}).fillna("test"))
    text = refusal(split_record(own, by_part=False), others)
    assert "both official, leakage drop, with other lesions in their parts" in text
    assert "go back" not in text


def test_what_was_not_trained_here_may_always_be_evaluated():
    for record in (None, {}):
        assert refusal(record, splits()) == ""


def test_the_record_names_no_patient():
    reported = [str(split_record(splits(), by_part=by_part)) for by_part in (True, False)]
    names = [*LESIONS["lesion_id"], *LESIONS["patient_id"]]
    assert not [name for name in names for text in reported if str(name) in text]


def test_the_question_can_be_asked_without_torch():
    code = "import sys, miram.models.checkpoints.split_record; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_table_without_a_lesion_apart_differs_from_one_with():
    one = pd.DataFrame({"lesion_id": ["a", "b"], "split": ["train", "test"]})
    one = one.assign(strategy="official", leakage="drop")
    none = one.assign(split="train")
    assert refusal(split_record(one, by_part=False), none) == ""  # none is kept apart from it now
    assert "other splits" in refusal(split_record(none, by_part=False), one)


def test_an_encoder_of_images_without_lesions_has_a_record_and_saw_no_patient_kept_apart():
    none = assign_splits(LESIONS.iloc[:0], SplitConfig())
    record = split_record(none, by_part=False)
    assert record["strategy"] == "none"
    assert refusal(record, none) == ""
    assert refusal(record, splits()).count("none") >= 1
