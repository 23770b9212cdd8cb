"""Does a metric hold in every subgroup: metrics, intervals and differences from the other lesions.

A subgroup under 30 patients keeps its row and its interval but gets no verdict, and one under 5 has
no interval either, nor one that every draw gives the same metric: a bootstrap over fewer is too
sure of itself.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pandas as pd

from miram.evaluation.statistics.bootstrap import (
    DRAWS,
    Interval,
    canonical_order,
    cluster_bootstrap,
    percentile_interval,
    resample,
)
from miram.evaluation.statistics.comparison import holm, two_sided_p
from miram.evaluation.statistics.inputs import Scores, SeedScores, by_seed
from miram.evaluation.statistics.metrics import mean_metrics

VARIABLES = ("density", "view", "laterality", "abnormality_type", "subtlety", "assessment")
"""Columns of the lesion table by which metrics are split up, where they are filled."""

MIN_PATIENTS = 30
"""With fewer patients there is no verdict on a subgroup or a task, whatever the metrics."""

MIN_INTERVAL = 5
TOO_FEW = "too few"


@dataclass(frozen=True)
class SubgroupRow:
    """One value of a subgroup variable.

    Attributes:
        subgroup: Name of the variable, such as `density`.
        value: Its value as text; `missing` where the table has none.
        intervals: Metrics with intervals by name; the interval is NaN under 5 patients, or
            where it would have no width.
        metric: The metric that the verdict is about.
        difference: That metric here minus among all other lesions; None without a verdict.
        p_value: Two-sided, of that difference; NaN without a verdict.
        p_holm: Corrected over the values of the variable; two values are one test.
        verdict: `higher`, `lower` or `no difference shown` than the other lesions at 5 % after
            correction; `too few` under 30 patients here or elsewhere; `undefined` where a class is
            missing.
    """

    subgroup: str
    value: str
    intervals: dict[str, Interval]
    metric: str
    difference: Interval | None
    p_value: float
    p_holm: float
    verdict: str


def subgroup_rows(
    labels: npt.ArrayLike,
    scores: Scores,
    groups: npt.ArrayLike,
    values: npt.ArrayLike,
    *,
    subgroup: str,
    metrics: Sequence[str],
    draws: int = DRAWS,
    seed: int,
) -> list[SubgroupRow]:
    """Evaluate each value of a subgroup variable alone and against the other lesions.

    `values` are (n,), missing ones included; the verdict is about the first of the metrics. Other
    arguments and errors as `cluster_bootstrap`.

    Returns:
        A row per value, sorted by value, `missing` last.
    """
    labels, groups, seeds = np.asarray(labels), np.asarray(groups), by_seed(scores)
    names = pd.Series(values).map(_text)
    found = sorted(set(names), key=lambda name: (name == "missing", name))
    parts = [(names == value).to_numpy() for value in found]
    tests = [
        _difference(labels, seeds, groups, inside, metrics[0], draws=draws, seed=seed)
        for inside in parts
    ]
    p_values = [p_value for _, p_value in tests]
    # Of two values the one against the other is one test, not two.
    corrected = holm(p_values) if len(found) > 2 else p_values
    rows = []
    for value, inside, (difference, p_value), p_holm in zip(
        found, parts, tests, corrected, strict=True
    ):
        here = cluster_bootstrap(
            labels[inside], seeds.of(inside), groups[inside], metrics, draws=draws, seed=seed
        )
        rows.append(
            SubgroupRow(
                subgroup=subgroup,
                value=value,
                intervals={name: _honest(interval) for name, interval in here.items()},
                metric=metrics[0],
                difference=difference,
                p_value=p_value,
                p_holm=p_holm,
                verdict=_verdict(difference, p_holm),
            )
        )
    return rows


def _honest(interval: Interval) -> Interval:
    if interval.patients >= MIN_INTERVAL and interval.lower < interval.upper:
        return interval
    return replace(interval, lower=float("nan"), upper=float("nan"))


def _difference(
    labels: npt.NDArray,
    seeds: SeedScores,
    groups: npt.NDArray,
    inside: npt.NDArray[np.bool_],
    metric: str,
    *,
    draws: int,
    seed: int,
) -> tuple[Interval | None, float]:
    """The metric inside minus elsewhere, and its p; None and NaN where patients are too few."""
    if min(len(np.unique(groups[part])) for part in (inside, ~inside)) < MIN_PATIENTS:
        return None, float("nan")
    # Patients are drawn as a whole, since one may have lesions inside and outside.
    order = canonical_order(groups, labels, np.column_stack([seeds.stacked(), inside]))
    labels, seeds, groups, inside = labels[order], seeds.of(order), groups[order], inside[order]
    _, here = mean_metrics(labels[inside], seeds.of(inside), [metric])
    _, elsewhere = mean_metrics(labels[~inside], seeds.of(~inside), [metric])

    def difference(weights: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return here(weights[inside]) - elsewhere(weights[~inside])

    estimate = float(difference(np.ones((len(labels), 1)))[0, 0])
    (drawn,) = resample(difference, groups, draws=draws, seed=seed)
    return percentile_interval(estimate, drawn, groups), two_sided_p(drawn.values)


def _verdict(difference: Interval | None, p_holm: float) -> str:
    if difference is None:
        return TOO_FEW
    if not np.isfinite(p_holm):
        return "undefined"
    if p_holm >= 0.05:
        return "no difference shown"
    return "higher" if difference.estimate > 0 else "lower"


def _text(value: object) -> str:
    if value is None or value is pd.NA or value != value:
        return "missing"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)
