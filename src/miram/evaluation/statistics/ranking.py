"""ROC and precision-recall metrics under sample weights, for many weightings at once.

The scores are sorted once. What depends on the weights are two sums per threshold, which are
sparse matrix products, and their cumulative sums; a bootstrap of 2,000 draws then costs about
as much as a few sorts. Only thresholds that hold a positive matter, so the curves are cut there.

Scores of different classifiers are not comparable: those of a fold whose training part held more
positives are all higher, which is just when the fold itself holds fewer of them. So under
cross-validation lesions are ranked within their fold only. Pooled, the area would be too low, below
0.5 for scores that know nothing (Parker et al., BMC Bioinformatics 8:326, 2007; Airola et al.,
Comput Stat Data Anal 55:1828, 2011).
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import sparse

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class RankingMetrics:
    """Metrics of one score under D weightings, NaN where a class has no weight.

    Attributes:
        auc: (D,) area under the ROC curve: the share of pairs ranked right, one half if tied.
        average_precision: (D,) step-wise area under the precision-recall curve.
        sensitivity: (D,) highest sensitivity at the asked specificity.
    """

    auc: Array
    average_precision: Array
    sensitivity: Array


class RankingCurve:
    """The thresholds of one score, ready to be evaluated under any weights.

    With several folds the area is the share of all pairs within a fold; average precision and
    sensitivity are those of the folds, each as much as it has positives.

    Args:
        positive: (m,) bool, whether an entry belongs to the positive class.
        scores: (m,) finite, higher means more positive.
        sample: (m,) index into the weights of each entry; by default entry i has weight i. A
            micro average has several entries per sample.
        n_samples: Number of weights, m by default.
        folds: (n_samples,) which classifier scored each sample; None for a single one.
    """

    def __init__(
        self,
        positive: npt.ArrayLike,
        scores: npt.ArrayLike,
        sample: npt.ArrayLike | None = None,
        n_samples: int | None = None,
        folds: npt.NDArray | None = None,
    ) -> None:
        """Sort the scores once."""
        positive, scores = np.asarray(positive, bool), np.asarray(scores, np.float64)
        sample = np.arange(positive.size) if sample is None else np.asarray(sample)
        n_samples = positive.size if n_samples is None else n_samples
        fold = np.zeros(positive.size) if folds is None else np.asarray(folds)[sample]
        self._folds = [
            _Thresholds(positive[here], scores[here], sample[here], n_samples)
            for here in (fold == name for name in np.unique(fold))
        ]

    def evaluate(self, weights: Array, specificity: float = 0.9) -> RankingMetrics:
        """Evaluate the curve under D weightings.

        Args:
            weights: (n_samples, D) float64, not negative; exact for whole numbers.
            specificity: The specificity at which the sensitivity is read.

        Returns:
            The metrics, each (D,).
        """
        sums = [fold.evaluate(weights, specificity) for fold in self._folds]
        auc, average_precision, sensitivity = _ratios(zip(*sums, strict=True))
        return RankingMetrics(auc, average_precision, sensitivity)

    def auc(self, weights: Array) -> Array:
        """The area under the ROC curve alone, as in `evaluate`, at half the cost."""
        (auc,) = _ratios(zip(*([fold.pairs(weights)] for fold in self._folds), strict=True))
        return auc


# Numerator and denominator of a metric, (D,) each.
_Fraction = tuple[Array, Array]


def _ratios(metrics: Iterator[tuple[_Fraction, ...]]) -> list[Array]:
    """Metrics over all folds from the fractions of each."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return [np.divide(*np.sum(one, axis=0)) for one in metrics]


class _Thresholds:
    """The thresholds of the scores of one classifier; arguments as `RankingCurve`."""

    def __init__(
        self,
        positive: npt.NDArray[np.bool_],
        scores: Array,
        sample: npt.NDArray[np.intp],
        n_samples: int,
    ) -> None:
        # Tie group 0 holds the highest score.
        _, tie = np.unique(-scores, return_inverse=True)
        thresholds = np.unique(tie[positive])
        # The first threshold that calls the entry positive; len(thresholds) = below all of them.
        segment = np.searchsorted(thresholds, tie)
        tied = ~positive & np.isin(tie, thresholds)
        shape = (len(thresholds) + 1, n_samples)
        self._positive = _counts(segment[positive], sample[positive], shape)
        self._negative = _counts(segment[~positive], sample[~positive], shape)
        self._tied = _counts(segment[tied], sample[tied], shape)

    def evaluate(self, weights: Array, specificity: float) -> list[_Fraction]:
        """Fractions of area, average precision and sensitivity."""
        positive, false, pairs = self._areas(weights)
        true = np.cumsum(positive, axis=0)
        n_positive, n_negative = true[-1], false[-1]
        with np.errstate(divide="ignore", invalid="ignore"):
            precision = np.nan_to_num(true / (true + false))
        precisions = np.einsum("td,td->d", positive, precision)
        # The margin only absorbs the rounding of (1 - specificity), not a whole lesion.
        allowed = false <= (1 - specificity) * n_negative * (1 + 1e-9)
        found = np.where(allowed, true, 0.0).max(axis=0)
        known = n_negative > 0  # a specificity needs negatives
        return [pairs, (precisions, n_positive), (found * known, n_positive * known)]

    def pairs(self, weights: Array) -> _Fraction:
        """Pairs of a positive and a negative that are ranked right, and all of them."""
        return self._areas(weights)[2]

    def _areas(self, weights: Array) -> tuple[Array, Array, _Fraction]:
        """Positives per threshold, negatives down to it, (T + 1, D) each, and pairs."""
        positive = self._positive @ weights  # (n, D) -> (T + 1, D)
        false = np.cumsum(self._negative @ weights, axis=0)
        above = np.einsum("td,td->d", positive, false)
        if self._tied.nnz:
            above -= np.einsum("td,td->d", positive, self._tied @ weights) / 2
        pairs = positive.sum(axis=0) * false[-1]
        return positive, false, (pairs - above, pairs)


def _counts(
    rows: npt.NDArray[np.intp], columns: npt.NDArray[np.intp], shape: tuple[int, int]
) -> sparse.csr_array:
    return sparse.csr_array((np.ones(len(rows)), (rows, columns)), shape=shape)
