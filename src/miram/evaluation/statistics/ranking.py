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

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
from scipy import sparse

Array = npt.NDArray[np.float64]
_Fraction = tuple[Array, Array]  # numerator and denominator of a metric, (D,) each


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

    def evaluate(self, weights: Array, *, keep: bool = True) -> "WeightedCurve":
        """The curve under D weightings.

        Args:
            weights: (n_samples, D) float64, not negative; exact for whole numbers.
            keep: Keep the sums for further metrics; where there is one metric only, memory that
                is used again is faster.
        """
        each = (fold.sums(weights) for fold in self._folds)
        return WeightedCurve(list(each) if keep else each)


class WeightedCurve:
    """A curve under D weightings; each metric is computed when it is asked for.

    Metrics are (D,), NaN where a class has no weight.
    """

    def __init__(self, folds: Iterable["_Sums"]) -> None:
        self._folds = folds

    @property
    def auc(self) -> Array:
        """Area under the ROC curve: the share of pairs ranked right, one half if tied."""
        return _ratio([fold.pairs() for fold in self._folds])

    @property
    def average_precision(self) -> Array:
        """Step-wise area under the precision-recall curve."""
        return _ratio([fold.precisions() for fold in self._folds])

    def sensitivity(self, specificity: float) -> Array:
        """Highest sensitivity at a specificity."""
        return _ratio([fold.found(specificity) for fold in self._folds])


def _ratio(fractions: list[_Fraction]) -> Array:
    """A metric over all folds from the fraction of each."""
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio: Array = np.divide(*np.sum(fractions, axis=0))
    return ratio


@dataclass(frozen=True)
class _Sums:
    """Weights of one fold per threshold, (T + 1, D) each: `false` counts all down to it."""

    positive: Array
    false: Array
    tied: Array | None

    @cached_property
    def true(self) -> Array:
        return np.cumsum(self.positive, axis=0)

    def pairs(self) -> _Fraction:
        """Pairs of a positive and a negative that are ranked right, and all of them."""
        above = np.einsum("td,td->d", self.positive, self.false)
        if self.tied is not None:
            above -= np.einsum("td,td->d", self.positive, self.tied) / 2
        pairs = self.positive.sum(axis=0) * self.false[-1]
        return pairs - above, pairs

    def precisions(self) -> _Fraction:
        with np.errstate(divide="ignore", invalid="ignore"):
            precision = np.nan_to_num(self.true / (self.true + self.false))
        return np.einsum("td,td->d", self.positive, precision), self.true[-1]

    def found(self, specificity: float) -> _Fraction:
        n_positive, n_negative = self.true[-1], self.false[-1]
        # The margin only absorbs the rounding of (1 - specificity), not a whole lesion.
        allowed = self.false <= (1 - specificity) * n_negative * (1 + 1e-9)
        found = np.where(allowed, self.true, 0.0).max(axis=0)
        known = n_negative > 0  # a specificity needs negatives
        return found * known, n_positive * known


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

    def sums(self, weights: Array) -> _Sums:
        return _Sums(
            positive=self._positive @ weights,  # (n, D) -> (T + 1, D)
            false=np.cumsum(self._negative @ weights, axis=0),
            tied=self._tied @ weights if self._tied.nnz else None,
        )


def _counts(
    rows: npt.NDArray[np.intp], columns: npt.NDArray[np.intp], shape: tuple[int, int]
) -> sparse.csr_array:
    return sparse.csr_array((np.ones(len(rows)), (rows, columns)), shape=shape)
