"""Patient-cluster bootstrap: how far a metric could have been off with other patients.

Lesions of one patient resemble each other, so whole patients are resampled with all their lesions
(Field & Welsh, J R Stat Soc B 69:369, 2007). The interval is the percentile interval (Efron 1979).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from miram.evaluation.statistics import StatisticsError
from miram.evaluation.statistics.inputs import LEVEL, Scores, SeedScores, by_seed
from miram.evaluation.statistics.metrics import Statistic, mean_metrics

Array = npt.NDArray[np.float64]

DRAWS = 2000
AT_ONCE = 2**20
"""Weights evaluated at once, 128 draws of 8,192 lesions: their sums stay within a core's cache. The
stream of random numbers, and so the draws, do not depend on it."""

MAX_REDRAW = 10
"""Give up redrawing after this many times the asked draws."""


@dataclass(frozen=True)
class Interval:
    """A metric with its uncertainty and what it rests on.

    Attributes:
        estimate: The metric on the sample itself, NaN where undefined.
        lower: Lower end of the interval, NaN where the estimate is, or with fewer than 2 patients.
        upper: Upper end.
        draws: Number of draws that the interval rests on.
        undefined_draws: Draws in which the metric was undefined and which were redrawn.
    """

    estimate: float
    lower: float
    upper: float
    lesions: int
    patients: int
    draws: int
    undefined_draws: int


@dataclass(frozen=True)
class Resampled:
    """The bootstrap distribution of one statistic: its defined draws and the undefined ones."""

    values: Array
    undefined: int


def cluster_bootstrap(
    labels: npt.ArrayLike,
    scores: Scores,
    groups: npt.ArrayLike,
    metrics: Sequence[str] | None = None,
    *,
    draws: int = DRAWS,
    seed: int,
) -> dict[str, Interval]:
    """Give metrics with 95 % percentile intervals of a patient-cluster bootstrap.

    All metrics share the draws. A draw in which one of them is undefined (a class is missing) is
    redrawn for that metric only and counted. The result does not depend on the order of the rows.

    Args:
        labels: (n,) or (n, K), as in `inputs`.
        scores: (n,) or (n, K); of several seeds, whose mean each metric is then.
        groups: (n,) patient of each lesion.
        metrics: Names of the metrics, all of the kind by default.
        draws: Number of defined draws per metric.
        seed: Seed of the draws.

    Returns:
        An interval by name of the metric.

    Raises:
        StatisticsError: As `prepare`, or the groups do not match the labels.
    """
    labels, seeds, groups = in_canonical_order(labels, by_seed(scores), groups)
    names, statistic = mean_metrics(labels, seeds, metrics)
    return intervals_of(names, statistic, groups, draws=draws, seed=seed)


def intervals_of(
    names: Sequence[str], statistic: Statistic, groups: npt.NDArray, *, draws: int, seed: int
) -> dict[str, Interval]:
    """Give statistics their estimates and percentile intervals, by name."""
    estimates = statistic(np.ones((len(groups), 1)))[:, 0]
    resampled = resample(statistic, groups, draws=draws, seed=seed)
    return {
        name: percentile_interval(float(estimate), drawn, groups)
        for name, estimate, drawn in zip(names, estimates, resampled, strict=True)
    }


def resample(
    statistic: Statistic, groups: npt.ArrayLike, *, draws: int, seed: int
) -> list[Resampled]:
    """Evaluate statistics on resampled patients until each has enough defined draws.

    Args:
        statistic: Takes weights (n, D), the number of times each lesion was drawn, and gives
            (S, D) values, NaN where undefined. A statistic undefined on the sample itself is given
            up at once.
        groups: (n,) patient of each lesion.
        draws: Number of defined draws wanted per statistic.
        seed: Seed of the draws.

    Returns:
        S distributions. One has fewer than `draws` values only if it was undefined on the sample,
        there are fewer than 2 patients, or `MAX_REDRAW` times the draws did not suffice.
    """
    if draws < 1:
        raise StatisticsError(f"the number of bootstrap draws must be at least 1, got {draws}")
    _, group = np.unique(np.asarray(groups), return_inverse=True)
    patients = int(group.max()) + 1
    possible = np.isfinite(statistic(np.ones((len(group), 1)))[:, 0])
    rng = np.random.default_rng(seed)
    batches: list[Array] = []
    batch = max(1, min(128, AT_ONCE // len(group)))
    found = np.where(possible & (patients > 1), 0, draws)
    while found.min() < draws and len(batches) * batch < MAX_REDRAW * draws:
        values = statistic(patient_counts(rng, patients, batch)[group])
        batches.append(values)
        found = found + np.isfinite(values).sum(axis=1)
    drawn = np.hstack(batches) if batches else np.empty((len(possible), 0))
    return [
        _first_defined(row, draws) if wanted else Resampled(np.empty(0), 0)
        for row, wanted in zip(drawn, possible, strict=True)
    ]


def patient_counts(rng: np.random.Generator, patients: int, draws: int) -> Array:
    """How often each patient is drawn: (patients, draws), columns summing to `patients`."""
    picks = rng.integers(patients, size=(draws, patients))
    flat = (picks + patients * np.arange(draws)[:, None]).ravel()
    counts = np.bincount(flat, minlength=patients * draws).reshape(draws, patients)
    return np.ascontiguousarray(counts.T, dtype=np.float64)


def canonical_order(
    groups: npt.ArrayLike, labels: npt.NDArray, scores: npt.NDArray
) -> npt.NDArray[np.intp]:
    """Order rows by patient, then labels, then scores, so that sums are bit for bit the same.

    Rows that agree in all of these are interchangeable, so no further key is needed.

    Raises:
        StatisticsError: If the three do not have one row per lesion each.
    """
    groups = np.asarray(groups)
    if not groups.shape == labels.shape[:1] == scores.shape[:1]:
        raise StatisticsError(
            f"{groups.shape} patients, {labels.shape} labels and {scores.shape} scores: one row per"
            " lesion is needed in each"
        )
    _, group = np.unique(groups, return_inverse=True)
    n = len(groups)
    return np.lexsort((*scores.reshape(n, -1).T, *labels.reshape(n, -1).T, group))


def in_canonical_order(
    labels: npt.ArrayLike, scores: SeedScores, groups: npt.ArrayLike
) -> tuple[npt.NDArray, SeedScores, npt.NDArray]:
    """Labels, scores and patients of the same lesions in the order of `canonical_order`."""
    labels, groups = np.asarray(labels), np.asarray(groups)
    order = canonical_order(groups, labels, scores.stacked())
    return labels[order], scores.of(order), groups[order]


def percentile_interval(estimate: float, drawn: Resampled, groups: npt.NDArray) -> Interval:
    """Turn a bootstrap distribution into an interval with its numbers beside it."""
    lower, upper = float("nan"), float("nan")
    if len(drawn.values):
        lower, upper = np.quantile(drawn.values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]).tolist()
    lesions, patients = len(groups), len(np.unique(groups))
    draws = len(drawn.values)
    return Interval(estimate, lower, upper, lesions, patients, draws, drawn.undefined)


def _first_defined(values: Array, draws: int) -> Resampled:
    defined = np.flatnonzero(np.isfinite(values))[:draws]
    looked_at = defined[-1] + 1 if len(defined) == draws else len(values)
    return Resampled(values[defined], int(looked_at - len(defined)))
