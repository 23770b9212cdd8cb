"""Is one method better than another on the same patients: paired bootstrap with Holm correction."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from miram.evaluation.statistics import StatisticsError
from miram.evaluation.statistics.bootstrap import (
    DRAWS,
    canonical_order,
    percentile_interval,
    resample,
)
from miram.evaluation.statistics.inputs import Scores, by_seed, kind_of
from miram.evaluation.statistics.metrics import main_metric, mean_metrics

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Comparison:
    """A method against the reference, on the same lesions.

    Attributes:
        difference: Metric of the method minus metric of the reference, with its interval `lower`
            to `upper`.
        p_value: Two-sided.
        p_holm: The p-value after Holm's correction over the methods compared.
        undefined_draws: Number of draws redrawn because the metric was undefined.
        seeds: Number of trainings of the method that its metric is the mean over.
        reference_seeds: The same of the reference.
    """

    method: str
    reference: str
    metric: str
    difference: float
    lower: float
    upper: float
    p_value: float
    p_holm: float
    lesions: int
    patients: int
    draws: int
    undefined_draws: int
    seeds: int
    reference_seeds: int


def compare_methods(
    labels: npt.ArrayLike,
    scores: Mapping[str, Scores],
    groups: npt.ArrayLike,
    *,
    reference: str,
    metric: str | None = None,
    draws: int = DRAWS,
    seed: int,
) -> list[Comparison]:
    """Compare every method with a reference by a paired patient-cluster bootstrap.

    In each draw both methods are evaluated on the same patients, so what they share cancels.

    Args:
        labels: (n,) or (n, K), as in `inputs`.
        scores: Scores of each method on the same lesions, in the order of the labels; a method
            trained with several seeds is compared by its mean over them.
        groups: (n,) patient of each lesion.
        reference: Name of the method that the others are compared with.
        metric: The metric compared, the primary one of the kind by default.
        draws: Number of draws.
        seed: Seed of the draws.

    Returns:
        One comparison per method other than the reference, in the order given.

    Raises:
        StatisticsError: The reference is not among the methods, or inputs do not fit together.
    """
    if reference not in scores:
        raise StatisticsError(
            f"the reference method {reference!r} has no scores: choose from {', '.join(scores)}"
        )
    by_method = {name: by_seed(values) for name, values in scores.items()}
    labels, groups = np.asarray(labels), np.asarray(groups)
    metric = metric or main_metric(kind_of(labels, by_method[reference].each[0]))
    if len({seeds.each[0].shape for seeds in by_method.values()}) > 1:
        shapes = ", ".join(f"{name} {seeds.each[0].shape}" for name, seeds in by_method.items())
        raise StatisticsError(f"methods must be scored on the same lesions, got {shapes}")
    # Sorted names: the order in which the methods come must not decide the order of the rows.
    stacked = np.column_stack([by_method[name].stacked() for name in sorted(by_method)])
    order = canonical_order(groups, labels, stacked)
    groups = groups[order]
    others = {
        name: mean_metrics(labels[order], seeds.of(order), [metric])[1]
        for name, seeds in by_method.items()
    }
    base = others.pop(reference)
    if not others:
        return []

    def differences(weights: Array) -> Array:
        """(n, D) weights of lesions -> (methods, D)."""
        of_reference = base(weights)
        return np.concatenate([of(weights) - of_reference for of in others.values()])

    estimates = differences(np.ones((len(groups), 1)))[:, 0]
    drawn = resample(differences, groups, draws=draws, seed=seed)
    p_values = [two_sided_p(resampled.values) for resampled in drawn]
    rows = []
    for name, estimate, resampled, p_value, p_holm in zip(
        others, estimates, drawn, p_values, holm(p_values), strict=True
    ):
        interval = percentile_interval(float(estimate), resampled, groups)
        rows.append(
            Comparison(
                method=name,
                reference=reference,
                metric=metric,
                difference=interval.estimate,
                lower=interval.lower,
                upper=interval.upper,
                p_value=p_value,
                p_holm=p_holm,
                lesions=interval.lesions,
                patients=interval.patients,
                draws=interval.draws,
                undefined_draws=interval.undefined_draws,
                seeds=by_method[name].seeds,
                reference_seeds=by_method[reference].seeds,
            )
        )
    return rows


def two_sided_p(differences: npt.ArrayLike) -> float:
    """Two-sided p-value of "no difference" from bootstrapped differences.

    The percentile interval is inverted: p is the share of draws outside the widest interval that
    excludes 0, so that interval and p-value agree, up to the one draw that is added to the counts
    to keep p above 0 (Davison & Hinkley 1997, section 4.2).

    Args:
        differences: (D,) bootstrapped differences.

    Returns:
        The p-value between 2 / (D + 1) and 1, NaN without draws.
    """
    differences = np.asarray(differences)
    if not differences.size:
        return float("nan")
    tail = min(int((differences <= 0).sum()), int((differences >= 0).sum()))
    return min(1.0, 2 * (tail + 1) / (differences.size + 1))


def holm(p_values: npt.ArrayLike) -> list[float]:
    """Correct p-values for their number (Holm, Scand J Stat 6:65, 1979).

    Args:
        p_values: (M,) p-values; NaN ones stay NaN and are not counted.

    Returns:
        The M corrected p-values.
    """
    p_values = np.asarray(p_values, np.float64)
    corrected = p_values.copy()
    tested = np.isfinite(p_values)
    # Not by statsmodels, which collects garbage on every call: 0.3 s beside torch.
    ascending = np.flatnonzero(tested)[np.argsort(p_values[tested], kind="stable")]
    factors = np.arange(len(ascending), 0, -1)
    rising = np.maximum.accumulate(p_values[ascending] * factors)
    corrected[ascending] = np.minimum(rising, 1)
    return corrected.tolist()
