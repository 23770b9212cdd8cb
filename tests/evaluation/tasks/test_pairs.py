"""No patient on two sides, no lesion evaluated twice."""

import numpy as np
import pytest

from miram.errors import MiramError
from miram.evaluation.tasks.pairs import check_pairs, out_of_fold

GROUPS = np.array(["P_00001", "P_00001", "P_00002", "P_00003", "P_00003", "P_00004"])


def test_a_planted_patient_leak_is_caught_and_named():
    with pytest.raises(MiramError, match="patient P_00003 is in training and evaluation of pair 0"):
        check_pairs(GROUPS, [([0, 1, 3], [2, 4])])


def test_a_leak_in_any_fold_is_caught():
    clean = ([0, 1, 2], [3, 4])
    with pytest.raises(MiramError, match="patient P_00001 is in training and evaluation of pair 1"):
        check_pairs(GROUPS, [clean, ([1, 5], [0, 2])])


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        ([], "no pair"),
        ([([0, 1], [])], "neither may be empty"),
        ([([0, 1], [9])], "outside 0 to 5"),
        ([([0, 1], [2, 3, 4]), ([0, 1], [2])], "row 2 is evaluated 2 times"),
    ],
)
def test_pairs_that_cannot_evaluate_honestly_are_reported(pairs, message):
    with pytest.raises(MiramError, match=message):
        check_pairs(GROUPS, pairs)


def test_scores_come_back_in_the_order_of_rows_with_their_pair():
    pairs = [(np.array([0, 1]), np.array([5, 2])), (np.array([2, 5]), np.array([4, 3, 0, 1]))]
    found = out_of_fold(pairs, [evaluation / 10 for _, evaluation in pairs])
    np.testing.assert_array_equal(found.rows, np.arange(6))
    np.testing.assert_allclose(found.scores, np.arange(6) / 10)
    np.testing.assert_array_equal(found.pair, [1, 1, 0, 1, 1, 0])
