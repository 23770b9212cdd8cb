"""Metrics of each class against the rest, with intervals, and the counts of decisions."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import sparse
from sklearn.metrics import confusion_matrix as sklearn_confusion_matrix
from sklearn.metrics import multilabel_confusion_matrix

from miram.errors import MiramError
from miram.evaluation.statistics.bootstrap import (
    DRAWS,
    Interval,
    canonical_order,
    percentile_interval,
    resample,
)
from miram.evaluation.statistics.kinds import decisions, kind_of, one_hot
from miram.evaluation.statistics.ranking import RankingCurve
from miram.evaluation.statistics.scores import Scores, by_seed, columns_of, mean_statistic

Array = npt.NDArray[np.float64]

CLASS_METRICS = ("auc", "average_precision", "sensitivity", "specificity", "precision", "f1")


@dataclass(frozen=True)
class ClassRow:
    """One class against the rest.

    Attributes:
        name: Name of the class.
        lesions: Lesions of that class.
        patients: Patients with such a lesion.
        metrics: Intervals by name, see `CLASS_METRICS`; what decides is as in `metrics`.
    """

    name: str
    lesions: int
    patients: int
    metrics: dict[str, Interval]


class ClassMetrics:
    """The metrics of one class, ready to be evaluated under any weights.

    Args:
        true: (n,) bool, whether the lesion is of the class.
        called: (n,) bool, whether the decision is the class.
        scores: (n,) finite, higher means more of the class.
        folds: (n,) which classifier scored each lesion, where there are several.
    """

    def __init__(
        self,
        true: npt.NDArray[np.bool_],
        called: npt.NDArray[np.bool_],
        scores: Array,
        folds: npt.NDArray | None = None,
    ) -> None:
        """Sort the scores once."""
        self._ranking = RankingCurve(true, scores, folds=folds)
        cells = [true & called, true & ~called, ~true & called, ~true & ~called]
        self._cells = sparse.csr_array(np.array(cells, np.float64))

    def __call__(self, weights: Array) -> Array:
        """Evaluate under D weightings.

        Args:
            weights: (n, D), not negative.

        Returns:
            (6, D) in the order of `CLASS_METRICS`, NaN where undefined; F1 is 0 without a
            positive, true or called.
        """
        ranked = self._ranking.evaluate(weights)
        hits, missed, false, rejected = self._cells @ weights  # (n, D) -> (4, D)
        with np.errstate(divide="ignore", invalid="ignore"):
            f1 = np.nan_to_num(2 * hits / (2 * hits + missed + false))
            return np.stack(
                [
                    ranked.auc,
                    ranked.average_precision,
                    hits / (hits + missed),
                    rejected / (rejected + false),
                    hits / (hits + false),
                    f1,
                ]
            )


def class_rows(
    labels: npt.ArrayLike,
    scores: Scores,
    groups: npt.ArrayLike,
    classes: Sequence[str],
    *,
    draws: int = DRAWS,
    seed: int,
    level: float = 0.95,
) -> list[ClassRow]:
    """Give each class against the rest its metrics with patient-cluster intervals.

    Args:
        labels: (n,) or (n, K), as in `kinds`.
        scores: (n,) or (n, K); of several seeds, whose mean each metric is then.
        groups: (n,) patient of each lesion.
        classes: K names; two for a binary task, of which only the second has a row.
        draws: Number of defined draws per metric.
        seed: Seed of the draws.
        level: Level of the intervals.

    Raises:
        MiramError: Names and scores do not fit together.
    """
    labels, seeds = np.asarray(labels), by_seed(scores)
    order = canonical_order(groups, labels, columns_of(seeds))
    labels, groups = labels[order], np.asarray(groups)[order]
    seeds = seeds.of(order)
    decided = [_decided(labels, one, classes) for one in seeds.each]
    true, _, names = decided[0]
    rows = []
    for k, name in enumerate(names):
        statistic = mean_statistic(
            [
                ClassMetrics(true[:, k], called[:, k], one.reshape(len(one), -1)[:, k], folds)
                for (one, folds), (_, called, _) in zip(seeds.parts(), decided, strict=True)
            ]
        )
        estimates = statistic(np.ones((len(labels), 1)))[:, 0]
        drawn = resample(statistic, groups, draws=draws, seed=seed)
        metrics = {
            metric: percentile_interval(float(estimate), resampled, groups, level)
            for metric, estimate, resampled in zip(CLASS_METRICS, estimates, drawn, strict=True)
        }
        members = true[:, k]
        rows.append(ClassRow(name, int(members.sum()), len(np.unique(groups[members])), metrics))
    return rows


def confusion_matrix(labels: npt.ArrayLike, scores: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """Count decisions: (K, K), rows true and columns decided, or (K, 2, 2) per label."""
    labels, scores = np.asarray(labels), np.asarray(scores, np.float64)
    kind = kind_of(labels, scores)
    if kind == "multi":
        return multilabel_confusion_matrix(labels, (scores > 0.5).astype(int))
    classes = 2 if kind == "binary" else scores.shape[1]
    return sklearn_confusion_matrix(labels, decisions(scores), labels=np.arange(classes))


def _decided(
    labels: npt.NDArray, scores: Array, classes: Sequence[str]
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_], list[str]]:
    """True and decided classes, (n, K) each, and their names."""
    kind = kind_of(labels, scores)
    wanted = 2 if kind == "binary" else scores.shape[1]
    if len(classes) != wanted:
        raise MiramError(f"{len(classes)} class names for scores of shape {scores.shape}")
    true = one_hot(labels, wanted)
    called = scores > 0.5 if kind == "multi" else one_hot(decisions(scores), wanted)
    first = 1 if kind == "binary" else 0
    return true[:, first:], called[:, first:], list(classes[first:])
