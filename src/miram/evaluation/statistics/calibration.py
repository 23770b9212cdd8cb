"""Do probabilities mean what they say: reliability curve, calibration error, temperature.

Bins hold equal mass. A lesion's bin follows from the middle of its rank, so that equal
probabilities always share a bin and the order of rows cannot matter.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import optimize, sparse, special, stats
from statsmodels.stats.proportion import proportion_confint

from miram.evaluation.statistics import StatisticsError
from miram.evaluation.statistics.inputs import LEVEL

ECE_BINS = 15


class CalibrationCurve:
    """Confidence against outcome, ready to be evaluated under any weights.

    Args:
        outcome: (m,) 0 or 1, whether the event came true.
        confidence: (m,) its stated probability.
        sample: (m,) index into the weights of each entry.
        n_samples: Number of weights.
    """

    def __init__(
        self,
        outcome: npt.NDArray[np.float64],
        confidence: npt.NDArray[np.float64],
        sample: npt.NDArray[np.intp],
        n_samples: int,
    ) -> None:
        """Sort the confidences once."""
        values, tie = np.unique(confidence, return_inverse=True)
        shape = (len(values), n_samples)
        self._mass = sparse.csr_array((np.ones(len(tie)), (tie, sample)), shape=shape)
        self._residual = sparse.csr_array((outcome - confidence, (tie, sample)), shape=shape)

    def error(self, weights: npt.NDArray[np.float64]) -> npt.NDArray:
        """Expected calibration error (Naeini et al., AAAI 2015) over `ECE_BINS` of equal mass.

        Args:
            weights: (n_samples, D) float64, not negative.

        Returns:
            (D,) mass-weighted mean of |observed frequency - mean confidence| per bin, NaN where the
            weights sum to 0.
        """
        mass = self._mass @ weights  # (n, D) -> (T, D)
        total = mass.sum(axis=0)
        middle = np.cumsum(mass, axis=0) - mass / 2
        residual = np.cumsum(self._residual @ weights, axis=0)
        residual = np.vstack([np.zeros_like(total), residual])
        # Whole weights make both sides of the comparison exact, so no bin edge is a matter of
        # rounding.
        inner = np.arange(1, ECE_BINS)
        sides = np.ascontiguousarray((middle * ECE_BINS).T)
        edges = [np.searchsorted(row, inner * t) for row, t in zip(sides, total, strict=True)]
        first = np.zeros((1, len(total)), np.intp)
        last = np.full((1, len(total)), len(middle))
        inside = np.array(edges, np.intp).reshape(-1, ECE_BINS - 1).T
        at_edges = np.take_along_axis(residual, np.vstack([first, inside, last]), 0)
        with np.errstate(invalid="ignore"):
            return np.abs(np.diff(at_edges, axis=0)).sum(axis=0) / total


@dataclass(frozen=True)
class ReliabilityBin:
    """One bin of a reliability curve.

    Attributes:
        confidence: Mean stated probability.
        frequency: Share of lesions for which the event came true, with its interval `lower` to
            `upper`.
    """

    confidence: float
    frequency: float
    lower: float
    upper: float
    lesions: int
    patients: int


def reliability_curve(
    outcome: npt.ArrayLike,
    confidence: npt.ArrayLike,
    groups: npt.ArrayLike,
) -> list[ReliabilityBin]:
    """Observed frequency against stated probability in `ECE_BINS` of equal mass.

    The interval is Wilson's at 95 %. The number of patients in the bin takes the place of the
    number of lesions, as if all lesions of one patient agreed: wider than necessary where they do
    not, never too narrow.

    Args:
        outcome: (n,) 0 or 1; for several classes "the top class is right".
        confidence: (n,) probability of that event, in [0, 1].
        groups: (n,) patient of each lesion.

    Returns:
        The bins from the lowest to the highest confidence, without those left empty by ties.
    """
    outcome, confidence = np.asarray(outcome, np.float64), np.asarray(confidence, np.float64)
    _require_probabilities(confidence)
    n, groups = len(outcome), np.asarray(groups)
    doubled_middle = (2 * stats.rankdata(confidence) - 1).astype(np.int64)
    where = doubled_middle * ECE_BINS // (2 * n)
    rows = []
    for index in np.unique(where):
        inside = where == index
        frequency = float(outcome[inside].mean())
        patients = len(np.unique(groups[inside]))
        lower, upper = proportion_confint(
            frequency * patients, patients, alpha=1 - LEVEL, method="wilson"
        )
        rows.append(
            ReliabilityBin(
                confidence=float(confidence[inside].mean()),
                frequency=frequency,
                lower=min(float(lower), frequency),  # Wilson's end at 0 is a rounding error above
                upper=max(float(upper), frequency),
                lesions=int(inside.sum()),
                patients=patients,
            )
        )
    return rows


def fit_temperature(labels: npt.ArrayLike, probabilities: npt.ArrayLike) -> float:
    """Temperature that minimises the log loss on validation lesions (Guo et al., ICML 2017).

    Args:
        labels: (n,) classes, or (n, K) of 0 and 1 for several labels at once.
        probabilities: (n,) of the positive class, (n, K) of K classes, or (n, K) of K labels.

    Returns:
        The temperature, between 0.01 and 100; above 1 the probabilities were too sure.

    Raises:
        StatisticsError: With no lesion, or probabilities outside [0, 1].
    """
    labels, probabilities = np.asarray(labels), np.asarray(probabilities, np.float64)
    if not len(labels):
        raise StatisticsError(
            "no validation lesion to fit a temperature on: widen the validation split"
        )
    _require_probabilities(probabilities)
    multi = labels.ndim == 2

    def loss(log_temperature: float) -> float:
        scaled = apply_temperature(probabilities, float(np.exp(log_temperature)), multi=multi)
        if scaled.ndim == 1 or multi:
            true = np.where(labels == 1, scaled, 1 - scaled)
        else:
            true = scaled[np.arange(len(labels)), labels.astype(int)]
        return float(-np.log(np.clip(true, 1e-300, None)).mean())

    bounds = (np.log(0.01), np.log(100))
    best = optimize.minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-6})
    return float(np.exp(best.x))


def apply_temperature(
    probabilities: npt.ArrayLike, temperature: float, *, multi: bool = False
) -> npt.NDArray[np.float64]:
    """Divide the logits behind probabilities by a temperature.

    Args:
        probabilities: (n,) of the positive class, or (n, K) of K classes or labels.
        temperature: Positive; 1 changes nothing, a higher one moves towards indecision.
        multi: Whether the columns are labels of their own instead of one distribution.

    Returns:
        The rescaled probabilities, of the same shape. The order of classes never changes.
    """
    clipped = np.clip(np.asarray(probabilities, np.float64), 1e-15, 1 - 1e-15)
    if clipped.ndim == 1 or multi:
        return special.expit(special.logit(clipped) / temperature)
    return special.softmax(np.log(clipped) / temperature, axis=1)


def _require_probabilities(values: npt.NDArray[np.float64]) -> None:
    if not (np.isfinite(values).all() and values.min() >= 0 and values.max() <= 1):
        raise StatisticsError(
            "calibration needs probabilities between 0 and 1, got values outside: "
            "fit a classifier on the scores first"
        )
