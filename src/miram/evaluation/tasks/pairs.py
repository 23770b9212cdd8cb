"""Training and evaluation rows without a common patient, and predictions over such pairs."""

from collections.abc import Sequence, Sized
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from miram.errors import MiramError

Rows = npt.NDArray[np.intp]
Pair = tuple[Rows, Rows]


@dataclass(frozen=True)
class OutOfFold:
    """Scores of lesions that the classifier scoring them has not seen.

    Attributes:
        rows: (m,) evaluated rows, ascending.
        scores: (m,) or (m, K) probabilities.
        pair: (m,) index of the pair that evaluated the row.
    """

    rows: Rows
    scores: npt.NDArray[np.float64]
    pair: Rows


def evaluation_pairs(splits: pd.DataFrame) -> list[Pair]:
    """Rows of `splits` that a probe learns from and is evaluated on: a pair, or one per fold.

    With the official split the validation patients train as well: the probe chooses its penalty
    by an inner cross-validation. The test rows are read in one pair, once.
    """
    split = splits["split"].to_numpy()
    if (splits["strategy"] == "official").all():
        known = np.flatnonzero(np.isin(split, ["train", "val"]))
        return [(known, np.flatnonzero(split == "test"))]
    names = sorted(set(split))
    return [(np.flatnonzero(split != name), np.flatnonzero(split == name)) for name in names]


def patients_apart(splits: pd.DataFrame) -> npt.NDArray[np.object_]:
    """(n,) patients as `check_pairs` distinguishes them.

    With `leakage: official` the user asked for the data set's own parts, leaking patients
    included: such a patient counts as another one in the test part.
    """
    patients = splits["patient_id"].to_numpy(dtype=object)
    if (splits["leakage"] == "official").any():
        return patients + np.where(splits["split"] == "test", " in test", "")
    return patients


def ordered_rows(features: npt.NDArray, groups: npt.NDArray, rows: Rows) -> Rows:
    """Rows of (n, d) features in an order that follows from their content and patient alone.

    The same lesions in another order then give the same folds, batches and sums.
    """
    return rows[np.lexsort((*features[rows, :8].T, groups[rows]))]


def check_pairs(groups: npt.ArrayLike, pairs: Sequence[Pair]) -> list[Pair]:
    """The pairs as arrays, checked to give an honest evaluation of rows of (n,) patients.

    Raises:
        MiramError: If a patient is in both halves of a pair, a row is evaluated twice or does not
            exist, or a half is empty.
    """
    groups = np.asarray(groups)
    if not pairs:
        raise MiramError("no pair of training and evaluation rows: check the split")
    checked = []
    for number, (train, evaluation) in enumerate(pairs):
        train, evaluation = np.asarray(train, np.intp), np.asarray(evaluation, np.intp)
        if not (len(train) and len(evaluation)):
            raise MiramError(
                f"pair {number} has {len(train)} training and {len(evaluation)} evaluation "
                "lesions: neither may be empty"
            )
        both = np.concatenate([train, evaluation])
        if both.min() < 0 or both.max() >= len(groups):
            raise MiramError(f"pair {number} names rows outside 0 to {len(groups) - 1}")
        shared = sorted(set(groups[train].tolist()) & set(groups[evaluation].tolist()))
        if shared:
            others = f" and {len(shared) - 1} more" if len(shared) > 1 else ""
            raise MiramError(
                f"patient {shared[0]}{others} is in training and evaluation of pair {number}: "
                "split by patient"
            )
        checked.append((train, evaluation))
    evaluated, times = np.unique(np.concatenate([pair[1] for pair in checked]), return_counts=True)
    if times.max() > 1:
        raise MiramError(
            f"row {evaluated[times.argmax()]} is evaluated {times.max()} times: the evaluation "
            "rows of the pairs must not overlap"
        )
    return checked


def out_of_fold(pairs: Sequence[Pair], scores: Sequence[npt.NDArray[np.float64]]) -> OutOfFold:
    """Put the scores of the evaluation rows of each pair together, in the order of the rows."""
    rows = np.concatenate([evaluation for _, evaluation in pairs])
    pair = np.repeat(np.arange(len(pairs)), [len(evaluation) for _, evaluation in pairs])
    order = np.argsort(rows)
    return OutOfFold(rows[order], np.concatenate(scores)[order], pair[order])


def require_lesions(lesions: Sized) -> None:
    """Refuse a study without lesions.

    Raises:
        MiramError: There are none.
    """
    if not len(lesions):
        raise MiramError(
            "there is no lesion with a crop, so nothing can be probed: does the source have "
            "lesions? Unlabeled images serve pretraining only"
        )
