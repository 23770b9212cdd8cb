"""Tables of features taken apart by encoder, in the order of the lesions asked for."""

import numpy as np
import pandas as pd
import pytest

from miram.errors import MiramError
from miram.evaluation.probes.scoring import (
    WHOLE,
    features_by_fold,
    features_evaluating,
    features_to_evaluate,
)
from miram.models.checkpoints.split_record import split_record

LESIONS = pd.Series(["b", "a"])


def test_features_stand_in_the_order_asked_and_names_of_rows_are_none_of_them():
    table = pd.DataFrame({"lesion_id": ["a", "b", "c"], "seed": 7, "f0": [1, 2, 3], "f1": 0.5})
    found = features_by_fold(table, LESIONS)
    assert list(found) == [WHOLE]
    np.testing.assert_array_equal(found[WHOLE], [[2, 0.5], [1, 0.5]])


def test_each_fold_is_evaluated_in_the_features_of_its_own_encoder():
    table = pd.DataFrame(
        {
            "lesion_id": ["a", "b", "a", "b"],
            "fold": ["fold0", "fold0", "fold1", "fold1"],
            "f0": [1.0, 2.0, 3.0, 4.0],
        }
    )
    found = features_by_fold(table, LESIONS)
    np.testing.assert_array_equal(features_evaluating(found, np.array(["fold1"])), [[4], [3]])
    for evaluated in (["fold2"], ["fold0", "fold1"]):
        with pytest.raises(MiramError, match="trained for the folds fold0, fold1"):
            features_evaluating(found, np.array(evaluated))


def test_features_of_an_encoder_that_learned_labels_are_not_evaluated_under_other_splits():
    table = pd.DataFrame({"lesion_id": ["a", "b"], "f0": [1.0, 2.0]})
    own = pd.DataFrame({"lesion_id": ["b", "a"], "split": ["train", "test"]})
    own = own.assign(strategy="official", leakage="drop")
    folds = own.assign(strategy="cv", split=["fold0", "fold1"])
    table.attrs["origin"] = {"splits": split_record(own, by_part=True)}
    np.testing.assert_array_equal(features_to_evaluate(table, own)[0][WHOLE], [[2], [1]])
    with pytest.raises(MiramError, match="under other splits"):
        features_to_evaluate(table, folds)
    table.attrs.clear()  # as of an anchor
    assert set(features_to_evaluate(table, folds)) == {0}
