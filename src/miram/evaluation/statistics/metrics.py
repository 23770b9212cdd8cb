"""The metrics of a task: what is computed from labels and scores, and under which name.

Every metric can be evaluated under many weightings of the samples at once, which is what makes
the bootstrap cheap; the plain metric is the one with all weights 1. Definitions follow
scikit-learn and are tested against it:

- `auc`, `auc_macro`: one against the rest, ties count one half, under cross-validation within
  the folds; `auc_micro` over all pairs of sample and class. `average_precision` is the macro mean
  where there are several classes.
- Decisions: the most probable class; for `binary` and `multi`, a probability above 0.5.
- `accuracy` of `multi` is the share of samples with every label right; `balanced_accuracy` of
  `multi` is the mean over labels of (sensitivity + specificity) / 2; `f1` is the macro mean.
- `brier` of `single` is summed over the classes (0 to 2); of `multi`, the mean over labels, as is
  `log_loss`.
- `ece`: 15 bins of equal mass; of the positive class (`binary`), of the most probable class
  (`single`), over all pairs of sample and label (`multi`).

A macro metric is NaN where a class is missing. It is never quietly taken over fewer classes.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

from miram.errors import MiramError
from miram.evaluation.statistics.calibration import CalibrationCurve
from miram.evaluation.statistics.kinds import METRICS, RANKING, Kind, decisions, kind_of, one_hot
from miram.evaluation.statistics.ranking import RankingCurve

Array = npt.NDArray[np.float64]


class WeightedMetrics:
    """Metrics of one set of predictions, ready to be evaluated under any weights.

    Args:
        labels: (n,) or (n, K), as in `kinds`.
        scores: (n,) or (n, K). Metrics of ranking take any finite scores; the others need
            probabilities.
        metrics: Names of the metrics, all of the kind by default.
        folds: (n,) which classifier scored each lesion, where there are several: metrics of
            ranking are then those within folds, see `miram.evaluation.statistics.ranking`.

    Raises:
        MiramError: If shapes do not fit, labels are out of range, a score is not finite, a name is
            unknown, or a metric needs probabilities and the scores are none.
    """

    def __init__(
        self,
        labels: npt.ArrayLike,
        scores: npt.ArrayLike,
        metrics: Sequence[str] | None = None,
        folds: npt.NDArray | None = None,
    ) -> None:
        """Check the predictions and prepare all that does not depend on the weights."""
        self._labels, self._scores = np.asarray(labels), np.asarray(scores, np.float64)
        self.kind = kind_of(self._labels, self._scores)
        self.metrics = METRICS[self.kind] if metrics is None else tuple(metrics)
        _validate(self.kind, self._labels, self._scores, self.metrics)
        self.n = len(self._labels)
        self.classes = 2 if self.kind == "binary" else self._scores.shape[1]
        self._hot = one_hot(self._labels, self.classes)
        self._prepare_ranking(folds)
        self._prepare_sums()
        self._calibration = None
        if "ece" in self.metrics:
            self._calibration = CalibrationCurve(*self._confidence(), self.n)

    def __call__(self, weights: npt.ArrayLike) -> dict[str, Array]:
        """Evaluate under D weightings.

        Args:
            weights: (n, D), not negative; whole numbers stand for repetitions of a sample.

        Returns:
            The metrics by name, each (D,), NaN where undefined.
        """
        weights = np.ascontiguousarray(weights, dtype=np.float64)
        values = self._ranking_values(weights)
        if set(self.metrics) - set(RANKING[self.kind]) - {"ece"}:
            values |= self._sum_values(weights)
        if self._calibration is not None:
            values["ece"] = self._calibration.error(weights)
        return {name: values[name] for name in self.metrics}

    def stacked(self, weights: npt.ArrayLike) -> Array:
        """Evaluate as above; (M, D) in the order of `metrics`."""
        return np.stack(list(self(weights).values()))

    def _prepare_ranking(self, folds: npt.NDArray | None) -> None:
        wanted = set(self.metrics)
        self._columns: list[RankingCurve] = []
        self._micro: RankingCurve | None = None
        if self.kind == "binary":
            if wanted & set(RANKING["binary"]):
                self._columns = [RankingCurve(self._labels == 1, self._scores, folds=folds)]
            return
        if wanted & {"auc_macro", "average_precision"}:
            hot, scores = self._hot, self._scores
            self._columns = [
                RankingCurve(hot[:, k], scores[:, k], folds=folds) for k in range(self.classes)
            ]
        if wanted & {"auc_micro", "average_precision_micro"}:
            sample = np.repeat(np.arange(self.n), self.classes)
            self._micro = RankingCurve(
                self._hot.ravel(), self._scores.ravel(), sample, self.n, folds
            )

    def _ranking_values(self, weights: Array) -> dict[str, Array]:
        auc = "auc" if self.kind == "binary" else "auc_macro"
        if not set(self.metrics) & set(RANKING[self.kind]) - {auc, "auc_micro"}:
            return self._areas(weights, auc)
        values = {}
        if self._columns:
            ranked = [column.evaluate(weights) for column in self._columns]
            values[auc] = np.mean([column.auc for column in ranked], axis=0)
            values["average_precision"] = np.mean(
                [column.average_precision for column in ranked], axis=0
            )
            if self.kind == "binary":
                values["sensitivity_at_90_specificity"] = ranked[0].sensitivity
        if self._micro is not None:
            micro = self._micro.evaluate(weights)
            values |= {"auc_micro": micro.auc, "average_precision_micro": micro.average_precision}
        return values

    def _areas(self, weights: Array, auc: str) -> dict[str, Array]:
        """Where no other ranking metric is wanted, half of the work can be left undone."""
        values = {}
        if self._columns:
            values[auc] = np.mean([column.auc(weights) for column in self._columns], axis=0)
        if self._micro is not None:
            values["auc_micro"] = self._micro.auc(weights)
        return values

    def _prepare_sums(self) -> None:
        # Everything that is a sum over samples becomes one row of a sparse matrix.
        if self.kind == "multi":
            decided = self._scores > 0.5
            cells = [self._hot & decided, ~self._hot & decided, self._hot & ~decided]
            right = (self._hot == decided).all(axis=1)
        else:
            decided = one_hot(decisions(self._scores), self.classes)
            cells = [self._hot & decided, ~self._hot & decided, self._hot & ~decided]
            right = (self._hot & decided).any(axis=1)
        losses = np.zeros((self.n, 2))
        if {"brier", "log_loss"} & set(self.metrics):
            losses = np.column_stack([self._brier_terms(), self._log_loss_terms()])
        rows = np.column_stack([np.ones(self.n), right, losses, *cells])  # (n, 4 + 3K)
        self._rows = sparse.csr_array(rows.T.astype(np.float64))

    def _sum_values(self, weights: Array) -> dict[str, Array]:
        sums = self._rows @ weights  # (n, D) -> (4 + 3K, D)
        total, right, brier, log_loss = sums[:4]
        true_positive, false_positive, false_negative = np.split(sums[4:], 3)  # (K, D) each
        true_negative = total - true_positive - false_positive - false_negative
        with np.errstate(divide="ignore", invalid="ignore"):
            recall = true_positive / (true_positive + false_negative)
            specificity = true_negative / (true_negative + false_positive)
            errors = false_positive + false_negative
            # Without a positive, true or called, scikit-learn's F1 is 0; so is it here.
            f1 = np.nan_to_num(2 * true_positive / (2 * true_positive + errors))
            means = {
                "accuracy": right / total,
                "brier": brier / total,
                "log_loss": log_loss / total,
            }
        balanced = (recall + specificity) / 2 if self.kind == "multi" else recall
        return {
            **means,
            "balanced_accuracy": balanced.mean(axis=0),
            "f1": f1[1] if self.kind == "binary" else f1.mean(axis=0),
        }

    def _brier_terms(self) -> Array:
        if self.kind == "binary":
            return (self._scores - self._labels) ** 2
        squares = (self._scores - self._hot) ** 2
        return squares.sum(axis=1) if self.kind == "single" else squares.mean(axis=1)

    def _log_loss_terms(self) -> Array:
        smallest = np.finfo(np.float64).eps
        clipped = np.clip(self._scores, smallest, 1 - smallest)
        if self.kind == "single":
            return -np.log(clipped[self._hot])
        hot = self._hot if self.kind == "multi" else self._labels == 1
        terms = -np.log(np.where(hot, clipped, 1 - clipped))
        return terms.mean(axis=1) if self.kind == "multi" else terms

    def _confidence(self) -> tuple[Array, Array, npt.NDArray[np.intp]]:
        return calibration_pairs(self._labels, self._scores)


def compute_metrics(
    labels: npt.ArrayLike,
    scores: npt.ArrayLike,
    metrics: Sequence[str] | None = None,
    folds: npt.NDArray | None = None,
) -> dict[str, float]:
    """Compute the metrics of one set of predictions.

    Args:
        labels: (n,) or (n, K), as in `kinds`.
        scores: (n,) or (n, K).
        metrics: Names of the metrics, all of the kind by default.
        folds: (n,) which classifier scored each lesion, where there are several.

    Returns:
        The metrics by name, NaN where undefined.

    Raises:
        MiramError: As `WeightedMetrics`.
    """
    statistic = WeightedMetrics(labels, scores, metrics, folds)
    return {name: float(value[0]) for name, value in statistic(np.ones((statistic.n, 1))).items()}


def calibration_pairs(
    labels: npt.ArrayLike, scores: npt.ArrayLike
) -> tuple[Array, Array, npt.NDArray[np.intp]]:
    """The events whose stated probability the calibration error and reliability curve judge.

    Args:
        labels: (n,) or (n, K), as in `kinds`.
        scores: (n,) or (n, K).

    Returns:
        Outcome (m,) of 0 and 1, its stated probability (m,), and the index of its sample (m,);
        m = n, or n·K for a multi-label task.
    """
    labels, scores = np.asarray(labels), np.asarray(scores, np.float64)
    sample = np.arange(len(labels))
    kind = kind_of(labels, scores)
    if kind == "binary":
        return labels.astype(np.float64), scores, sample
    if kind == "single":
        return (decisions(scores) == labels).astype(np.float64), scores.max(axis=1), sample
    return labels.astype(np.float64).ravel(), scores.ravel(), np.repeat(sample, scores.shape[1])


def _validate(
    kind: Kind, labels: npt.NDArray[Any], scores: Array, metrics: tuple[str, ...]
) -> None:
    unknown = sorted(set(metrics) - set(METRICS[kind]))
    if unknown:
        raise MiramError(
            f"no metric {', '.join(unknown)} for a {kind} task: choose from "
            f"{', '.join(METRICS[kind])}"
        )
    highest = scores.shape[1] - 1 if kind == "single" else 1
    if not np.isin(labels, np.arange(highest + 1)).all():
        raise MiramError(f"labels of a {kind} task must be whole numbers from 0 to {highest}")
    if not np.isfinite(scores).all():
        rows = np.flatnonzero(~np.isfinite(scores.reshape(len(scores), -1)).all(axis=1))
        raise MiramError(
            f"{len(rows)} of {len(scores)} scores are not finite, the first in row {rows[0]}: "
            "did training diverge?"
        )
    if set(metrics) & {"brier", "ece", "log_loss"}:
        summed = scores.sum(axis=1) if kind == "single" else np.ones(1)
        if scores.min() < 0 or scores.max() > 1 or np.abs(summed - 1).max() > 1e-3:
            raise MiramError(
                "brier, ece and log_loss need probabilities (0 to 1, classes summing to 1): fit a "
                "classifier on the scores, or ask for metrics of ranking only"
            )
