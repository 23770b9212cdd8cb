"""Metrics of each class against the rest, with intervals, and the counts of decisions."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from sklearn.metrics import multilabel_confusion_matrix

from miram.evaluation.statistics import StatisticsError
from miram.evaluation.statistics.bootstrap import DRAWS, Interval, in_canonical_order, intervals_of
from miram.evaluation.statistics.inputs import Scores, by_seed
from miram.evaluation.statistics.metrics import class_metrics, mean_of
from miram.evaluation.statistics.weighted import Predictions


@dataclass(frozen=True)
class ClassRow:
    """One class against the rest: its lesions, and the patients with such a lesion.

    Attributes:
        metrics: Intervals of `class_metrics` by name; decisions are those of the whole task.
    """

    name: str
    lesions: int
    patients: int
    metrics: dict[str, Interval]


def class_rows(
    labels: npt.ArrayLike,
    scores: Scores,
    groups: npt.ArrayLike,
    classes: Sequence[str],
    *,
    draws: int = DRAWS,
    seed: int,
) -> list[ClassRow]:
    """Give each class against the rest its metrics with patient-cluster intervals.

    Args:
        labels: (n,) or (n, K), as in `inputs`.
        scores: (n,) or (n, K); of several seeds, whose mean each metric is then.
        groups: (n,) patient of each lesion.
        classes: K names; two for a binary task, of which only the second has a row.
        draws: Number of defined draws per metric.
        seed: Seed of the draws.

    Raises:
        StatisticsError: Names and scores do not fit together.
    """
    labels, seeds, groups = in_canonical_order(labels, by_seed(scores), groups)
    parts = [Predictions(labels, one, folds) for one, folds in seeds.parts()]
    first = parts[0]
    if len(classes) != first.classes:
        raise StatisticsError(
            f"{len(classes)} class names for scores of shape {first.scores.shape}"
        )
    names = class_metrics()
    rows = []
    for k in range(1 if first.kind == "binary" else 0, first.classes):
        statistic = mean_of([one.of_class(k) for one in parts], names)
        metrics = intervals_of(names, statistic, groups, draws=draws, seed=seed)
        members = first.hot[:, k]
        patients = len(np.unique(groups[members]))
        rows.append(ClassRow(classes[k], int(members.sum()), patients, metrics))
    return rows


def confusion_matrix(labels: npt.ArrayLike, scores: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """Count decisions: (K, K), rows true and columns decided, or (K, 2, 2) per label."""
    found = Predictions(labels, scores)
    if found.kind == "multi":
        return multilabel_confusion_matrix(found.labels, found.decided.astype(int))
    return found.hot.T.astype(np.int64) @ found.decided.astype(np.int64)
