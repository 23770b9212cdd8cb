"""Predictions that can be evaluated under many weightings of the samples at once.

This is what makes the bootstrap cheap: everything that does not depend on the weights is prepared
once, and what depends on them are sparse matrix products and cumulative sums. Metrics are
functions of `Weighted`; what several of them need is computed once.
"""

from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

from miram.evaluation.statistics import StatisticsError
from miram.evaluation.statistics.calibration import CalibrationCurve
from miram.evaluation.statistics.inputs import kind_of, one_hot
from miram.evaluation.statistics.ranking import RankingCurve, WeightedCurve

Array = npt.NDArray[np.float64]


class Predictions:
    """Labels, scores and decisions of n samples, prepared for any weights.

    The class decided for is the most probable one, the first of equals; of `binary` and `multi`,
    each one with a probability above 0.5.

    Args:
        labels: (n,) or (n, K), as in `inputs`.
        scores: (n,) or (n, K), finite.
        folds: (n,) which classifier scored each sample, where there are several.
        decided: (n, K) bool, decisions made otherwise; two columns of a binary task.

    Raises:
        StatisticsError: Shapes do not fit, labels are out of range, or a score is not finite.
    """

    def __init__(
        self,
        labels: npt.ArrayLike,
        scores: npt.ArrayLike,
        folds: npt.NDArray | None = None,
        decided: npt.NDArray[np.bool_] | None = None,
    ) -> None:
        self.labels, self.scores = np.asarray(labels), np.asarray(scores, np.float64)
        self.kind = kind_of(self.labels, self.scores)
        self._validate()
        self.n = len(self.labels)
        self.classes = 2 if self.kind == "binary" else self.scores.shape[1]
        self.hot = one_hot(self.labels, self.classes)
        self.folds = folds
        self._decided = decided

    def _validate(self) -> None:
        highest = self.scores.shape[1] - 1 if self.kind == "single" else 1
        if not np.isin(self.labels, np.arange(highest + 1)).all():
            raise StatisticsError(
                f"labels of a {self.kind} task must be whole numbers from 0 to {highest}"
            )
        bad = np.argwhere(~np.isfinite(self.scores))[:, 0]
        if len(bad):
            raise StatisticsError(
                f"{len(np.unique(bad))} of {len(self.scores)} scores are not finite, the first in "
                f"row {bad[0]}: did training diverge?"
            )

    @property
    def are_probabilities(self) -> bool:
        """Whether scores lie between 0 and 1, and those of `single` classes sum to 1."""
        summed = self.scores.sum(axis=1) if self.kind == "single" else np.ones(1)
        inside = self.scores.min() >= 0 and self.scores.max() <= 1
        return bool(inside and np.abs(summed - 1).max() <= 1e-3)

    @cached_property
    def decided(self) -> npt.NDArray[np.bool_]:
        """(n, K) classes decided for."""
        if self._decided is not None:
            return self._decided
        if self.kind == "multi":
            return self.scores > 0.5
        binary = self.kind == "binary"
        called = (self.scores > 0.5).astype(np.intp) if binary else self.scores.argmax(axis=1)
        return one_hot(called, self.classes)

    def of_class(self, k: int) -> "Predictions":
        """Class k against the rest; of a binary task its positive class, which is 1."""
        column = self.scores if self.kind == "binary" else self.scores[:, k]
        called = self.decided[:, k]
        decided = np.column_stack([~called, called])
        return Predictions(self.hot[:, k].astype(np.intp), column, self.folds, decided)

    @cached_property
    def columns(self) -> list[RankingCurve]:
        """The curve of each class against the rest; of a binary task, of the positive class."""
        if self.kind == "binary":
            return [RankingCurve(self.labels == 1, self.scores, folds=self.folds)]
        return [
            RankingCurve(self.hot[:, k], self.scores[:, k], folds=self.folds)
            for k in range(self.classes)
        ]

    @cached_property
    def micro(self) -> RankingCurve:
        """The curve over all pairs of sample and class."""
        sample = np.repeat(np.arange(self.n), self.classes)
        return RankingCurve(self.hot.ravel(), self.scores.ravel(), sample, self.n, self.folds)

    @cached_property
    def calibration(self) -> CalibrationCurve:
        """The curve of `calibration_events`."""
        return CalibrationCurve(*self.calibration_events(), self.n)

    def calibration_events(self) -> tuple[Array, Array, npt.NDArray[np.intp]]:
        """The events whose stated probability calibration is about.

        Returns:
            Outcome (m,) of 0 and 1, its stated probability (m,), and the index of its sample
            (m,); m = n, or n·K for a multi-label task.
        """
        sample = np.arange(self.n)
        if self.kind == "binary":
            return self.labels.astype(np.float64), self.scores, sample
        if self.kind == "single":
            right = self.scores.argmax(axis=1) == self.labels
            return right.astype(np.float64), self.scores.max(axis=1), sample
        outcome = self.labels.astype(np.float64).ravel()
        return outcome, self.scores.ravel(), np.repeat(sample, self.classes)

    @cached_property
    def terms(self) -> dict[str, sparse.csr_array]:
        """What is summed over samples: by name (n,) or (n, K) terms, transposed and sparse."""
        hot, decided = self.hot, self.decided
        return {
            "true_positive": _rows(hot & decided),
            "false_positive": _rows(~hot & decided),
            "false_negative": _rows(hot & ~decided),
            "right": _rows((hot == decided).all(axis=1)),
        }

    @cached_property
    def losses(self) -> dict[str, sparse.csr_array]:
        """As `terms`, of scores that are probabilities."""
        return {"brier": _rows(self._brier()), "log_loss": _rows(self._log_loss())}

    def _brier(self) -> Array:
        if self.kind == "binary":
            return (self.scores - self.labels) ** 2
        squares = (self.scores - self.hot) ** 2
        return squares.sum(axis=1) if self.kind == "single" else squares.mean(axis=1)

    def _log_loss(self) -> Array:
        smallest = np.finfo(np.float64).eps
        clipped = np.clip(self.scores, smallest, 1 - smallest)
        if self.kind == "single":
            return -np.log(clipped[self.hot])
        terms = -np.log(np.where(self.labels == 1, clipped, 1 - clipped))
        return terms.mean(axis=1) if self.kind == "multi" else terms


class Weighted:
    """Predictions under D weightings.

    Args:
        predictions: Of n samples.
        weights: (n, D), not negative; whole numbers stand for repetitions of a sample.
        keep: Keep the sums of curves, of which more than one metric is asked.
    """

    def __init__(
        self, predictions: Predictions, weights: npt.ArrayLike, *, keep: bool = True
    ) -> None:
        self._keep = keep
        self.predictions = predictions
        self.weights = np.ascontiguousarray(weights, dtype=np.float64)
        self.total = self.weights.sum(axis=0)

    @cached_property
    def columns(self) -> list[WeightedCurve]:
        """Of each class against the rest; of a binary task, of the positive class."""
        curves = self.predictions.columns
        return [curve.evaluate(self.weights, keep=self._keep) for curve in curves]

    @cached_property
    def micro(self) -> WeightedCurve:
        """Over all pairs of sample and class."""
        return self.predictions.micro.evaluate(self.weights, keep=self._keep)

    def sum(self, terms: sparse.csr_array) -> Array:
        """(K, n) terms summed over the samples: (K, D)."""
        found: Array = terms @ self.weights
        return found

    @cached_property
    def true_positive(self) -> Array:
        """(K, D) samples of each class that are decided to be of it."""
        return self.sum(self.predictions.terms["true_positive"])

    @cached_property
    def false_positive(self) -> Array:
        """(K, D) others that are decided to be of it."""
        return self.sum(self.predictions.terms["false_positive"])

    @cached_property
    def false_negative(self) -> Array:
        """(K, D) samples of each class that are not decided to be of it."""
        return self.sum(self.predictions.terms["false_negative"])

    @property
    def true_negative(self) -> Array:
        """(K, D) all others."""
        return self.total - self.true_positive - self.false_positive - self.false_negative


def _rows(values: npt.NDArray[Any]) -> sparse.csr_array:
    """(n,) or (n, K) as sparse (1, n) or (K, n)."""
    return sparse.csr_array(values.reshape(len(values), -1).T.astype(np.float64))
