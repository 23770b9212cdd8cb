"""Variance of the area under the ROC curve in closed form: a cross-check of the bootstrap.

DeLong, DeLong & Clarke-Pearson, Biometrics 44:837, 1988, with the placement values taken from
mid-ranks (Sun & Xu, IEEE Signal Process Lett 21:1389, 2014); for several lesions per patient the
clustered form of Obuchowski, Biometrics 53:567, 1997, which equals DeLong's where every patient
has one lesion. Under cross-validation the areas within the folds are taken together, each by its
pairs of lesions; patients are in one fold, so the variances add up.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import special, stats

from miram.evaluation.statistics import StatisticsError
from miram.evaluation.statistics.inputs import LEVEL

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class AucInterval:
    """Area under the ROC curve with standard error and interval."""

    auc: float
    standard_error: float
    lower: float
    upper: float


def auc_covariance(
    labels: npt.ArrayLike,
    scores: npt.ArrayLike,
    groups: npt.ArrayLike | None = None,
    folds: npt.ArrayLike | None = None,
) -> tuple[Array, Array]:
    """Areas under the ROC curve of M scores and the covariance of these estimates.

    Args:
        labels: (n,) of 0 and 1.
        scores: (M, n) scores of M methods on the same lesions; ties count one half.
        groups: (n,) patient of each lesion; None takes lesions as independent.
        folds: (n,) which classifier scored each lesion; None for a single one.

    Returns:
        The areas (M,) and their covariance (M, M).

    Raises:
        StatisticsError: A class has fewer than two patients in a fold, so there is no variance.
    """
    labels = np.asarray(labels).astype(bool)
    scores = np.atleast_2d(np.asarray(scores, np.float64))
    groups = np.arange(len(labels)) if groups is None else np.asarray(groups)
    fold = np.zeros(len(labels)) if folds is None else np.asarray(folds)
    folds = [fold == name for name in np.unique(fold)]
    pairs = np.array([labels[here].sum() * (~labels[here]).sum() for here in folds])
    found = [_covariance(labels[here], scores[:, here], groups[here]) for here in folds]
    shares = pairs / pairs.sum()
    areas = sum(share * area for share, (area, _) in zip(shares, found, strict=True))
    covariance = sum(share**2 * one for share, (_, one) in zip(shares, found, strict=True))
    return np.asarray(areas), np.asarray(covariance)


def _covariance(
    labels: npt.NDArray[np.bool_], scores: Array, groups: npt.NDArray
) -> tuple[Array, Array]:
    """Areas and covariance of scores of one classifier."""
    _, group = np.unique(groups, return_inverse=True)
    positives, negatives = len(np.unique(group[labels])), len(np.unique(group[~labels]))
    if positives < 2 or negatives < 2:
        raise StatisticsError(
            f"DeLong's variance needs two patients of either class, got {positives} positive and "
            f"{negatives} negative"
        )
    by_positive, by_negative = placement_values(labels, scores)
    areas = by_positive.mean(axis=1)
    n_positive, n_negative = by_positive.shape[1], by_negative.shape[1]
    total = int(group.max()) + 1
    above = _sum_by_group(by_positive - areas[:, None], group[labels], total) / n_positive
    below = _sum_by_group(by_negative - areas[:, None], group[~labels], total) / n_negative
    cross = above @ below.T
    covariance = (
        positives / (positives - 1) * (above @ above.T)
        + negatives / (negatives - 1) * (below @ below.T)
        + total / (total - 1) * (cross + cross.T)
    )
    return areas, covariance


def placement_values(labels: npt.NDArray[np.bool_], scores: Array) -> tuple[Array, Array]:
    """Share of the other class that each lesion is ranked right against.

    Args:
        labels: (n,) bool, of which m are True.
        scores: (M, n).

    Returns:
        For the positives the share of negatives below them (M, m), for the negatives the share of
        positives above them (M, n - m); ties count one half.
    """
    positive, negative = scores[:, labels], scores[:, ~labels]
    ranks = stats.rankdata(scores, axis=1)
    above = ranks[:, labels] - stats.rankdata(positive, axis=1)
    below = ranks[:, ~labels] - stats.rankdata(negative, axis=1)
    return above / negative.shape[1], 1 - below / positive.shape[1]


def auc_interval(
    labels: npt.ArrayLike,
    scores: npt.ArrayLike,
    groups: npt.ArrayLike | None = None,
    folds: npt.ArrayLike | None = None,
) -> AucInterval:
    """Area under the ROC curve with DeLong's 95 % interval.

    It is symmetric on the logit scale (Pepe 2003, section 5.2), where it stays between 0 and 1 and
    covers better near the ends. At an area of exactly 0 or 1 the variance is 0 and the interval
    shrinks to a point. Arguments and errors as `auc_covariance`, with (n,) scores.
    """
    areas, covariance = auc_covariance(labels, scores, groups, folds)
    auc, error = float(areas[0]), float(np.sqrt(max(covariance[0, 0], 0.0)))
    reach = float(stats.norm.ppf((1 + LEVEL) / 2)) * error
    if not 0 < auc < 1:
        return AucInterval(auc, error, auc - reach, auc + reach)
    reach /= auc * (1 - auc)
    lower, upper = special.expit(special.logit(auc) + np.array([-reach, reach])).tolist()
    return AucInterval(auc, error, lower, upper)


def auc_test(
    labels: npt.ArrayLike,
    first: npt.ArrayLike,
    second: npt.ArrayLike,
    groups: npt.ArrayLike | None = None,
    folds: npt.ArrayLike | None = None,
) -> float:
    """P of the paired two-sided test that two scores have the same area under the ROC curve.

    Arguments and errors as `auc_covariance`, with (n,) scores of two methods on the same lesions.
    Where the difference has no variance, p is 1 if it is also 0, and NaN otherwise.
    """
    areas, covariance = auc_covariance(labels, np.stack([first, second]), groups, folds)
    difference = float(areas[0] - areas[1])
    variance = float(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    # Two equal scores leave a variance of rounding errors.
    error = float(np.sqrt(variance)) if variance > 1e-15 else 0.0
    undefined = 0.0 if difference == 0 else float("nan")
    return float(2 * stats.norm.sf(abs(difference / error if error else undefined)))


def _sum_by_group(values: Array, group: npt.NDArray[np.intp], total: int) -> Array:
    return np.stack([np.bincount(group, weights=row, minlength=total) for row in values])
