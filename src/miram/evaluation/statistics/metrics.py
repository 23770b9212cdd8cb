"""The metrics: each is one object, and everything that shows or compares metrics follows from it.

To add one, add a `Metric` to `METRICS`: it then stands in `metrics.json`, the leaderboard and
MLflow, and methods can be compared by it. Definitions follow scikit-learn and are tested against
it. A macro metric is NaN where a class is missing; it is never quietly taken over fewer classes.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from miram.evaluation.statistics import StatisticsError
from miram.evaluation.statistics.inputs import Kind, SeedScores
from miram.evaluation.statistics.weighted import Predictions, Weighted

Array = npt.NDArray[np.float64]
Statistic = Callable[[Array], Array]
"""Takes weights (n, D), gives (S, D) values, NaN where undefined."""

_ALL: tuple[Kind, ...] = ("binary", "single", "multi")
_SEVERAL: tuple[Kind, ...] = ("single", "multi")


@dataclass(frozen=True)
class Metric:
    """A number that says how good predictions are.

    Attributes:
        name: Its key in tables and files.
        label: Its name in words.
        function: Takes weighted predictions, gives (D,) values, NaN where undefined.
        reads: `ranks`, the order of scores, which may be any numbers and under cross-validation
            are compared within a fold only (see `ranking`); `decisions`; or `probabilities`.
        kinds: Kinds of task that it is computed of.
        better: Whether a `higher` or a `lower` value is better.
        chance: Its value for scores that know nothing, where there is one.
        main: Whether methods are ranked and compared by it; each kind has one such metric.
        per_class: Whether each class against the rest is given it as well.
    """

    name: str
    label: str
    function: Callable[[Weighted], Array]
    reads: Literal["ranks", "decisions", "probabilities"]
    kinds: tuple[Kind, ...] = _ALL
    better: Literal["higher", "lower"] = "higher"
    chance: float | None = None
    main: bool = False
    per_class: bool = False


def _area(given: Weighted) -> Array:
    return np.mean([curve.auc for curve in given.columns], axis=0)


def _average_precision(given: Weighted) -> Array:
    return np.mean([curve.average_precision for curve in given.columns], axis=0)


def _sensitivities(given: Weighted) -> Array:
    return given.true_positive / (given.true_positive + given.false_negative)


def _specificities(given: Weighted) -> Array:
    return given.true_negative / (given.true_negative + given.false_positive)


def _precision(given: Weighted) -> Array:
    return (given.true_positive / (given.true_positive + given.false_positive))[-1]


def _balanced_accuracy(given: Weighted) -> Array:
    """Mean sensitivity over the classes; of labels, mean of sensitivity and specificity."""
    found = _sensitivities(given)
    if given.predictions.kind == "multi":
        found = (found + _specificities(given)) / 2
    return found.mean(axis=0)


def _f1(given: Weighted) -> Array:
    """Of the positive class, or the mean over classes; 0 without a positive, true or decided."""
    errors = given.false_positive + given.false_negative
    found = np.nan_to_num(2 * given.true_positive / (2 * given.true_positive + errors))
    return found[-1] if given.predictions.kind == "binary" else found.mean(axis=0)


def _accuracy(given: Weighted) -> Array:
    """Share of samples decided right; of several labels, with every label right."""
    return given.sum(given.predictions.terms["right"])[0] / given.total


def _brier(given: Weighted) -> Array:
    """Summed over the classes of `single` (0 to 2), the mean over labels of `multi`."""
    return given.sum(given.predictions.losses["brier"])[0] / given.total


def _log_loss(given: Weighted) -> Array:
    """Of the true class; the mean over labels of `multi`."""
    return given.sum(given.predictions.losses["log_loss"])[0] / given.total


def _calibration_error(given: Weighted) -> Array:
    """Over 15 bins of equal mass, see `calibration`.

    It is of the positive class (`binary`), of the most probable class (`single`), or over all
    pairs of sample and label (`multi`).
    """
    return given.predictions.calibration.error(given.weights)


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric(
            "auc", "ROC AUC", _area, "ranks", ("binary",), chance=0.5, main=True, per_class=True
        ),
        Metric("auc_macro", "ROC AUC, macro", _area, "ranks", _SEVERAL, chance=0.5, main=True),
        Metric("auc_micro", "ROC AUC, micro", lambda given: given.micro.auc, "ranks", _SEVERAL),
        Metric(
            "average_precision", "Average precision", _average_precision, "ranks", per_class=True
        ),
        Metric(
            "average_precision_micro",
            "Average precision, micro",
            lambda given: given.micro.average_precision,
            "ranks",
            _SEVERAL,
        ),
        Metric(
            "sensitivity_at_90_specificity",
            "Sensitivity at 90 % specificity",
            lambda given: given.columns[0].sensitivity(0.9),
            "ranks",
            ("binary",),
        ),
        Metric(
            "sensitivity",
            "Sensitivity",
            lambda given: _sensitivities(given)[-1],
            "decisions",
            (),
            per_class=True,
        ),
        Metric(
            "specificity",
            "Specificity",
            lambda given: _specificities(given)[-1],
            "decisions",
            (),
            per_class=True,
        ),
        Metric("precision", "Precision", _precision, "decisions", (), per_class=True),
        Metric("accuracy", "Accuracy", _accuracy, "decisions"),
        Metric("balanced_accuracy", "Balanced accuracy", _balanced_accuracy, "decisions"),
        Metric("f1", "F1", _f1, "decisions", per_class=True),
        Metric("brier", "Brier score", _brier, "probabilities", better="lower"),
        Metric(
            "ece", "Expected calibration error", _calibration_error, "probabilities", better="lower"
        ),
        Metric("log_loss", "Log loss", _log_loss, "probabilities", better="lower"),
    )
}
"""All metrics by name, in the order of the tables."""


def metrics_of(kind: Kind, reads: str | None = None) -> tuple[str, ...]:
    """Names of the metrics of a kind of task, all or those that read ranks, say."""
    return tuple(
        name for name, one in METRICS.items() if kind in one.kinds and reads in (None, one.reads)
    )


def main_metric(kind: Kind) -> str:
    """The metric by which methods are ranked and compared."""
    return next(name for name in metrics_of(kind) if METRICS[name].main)


def class_metrics() -> tuple[str, ...]:
    """Names of the metrics that each class against the rest is given."""
    return tuple(name for name, one in METRICS.items() if one.per_class)


def require_metric(name: str, kind: Kind) -> None:
    """Refuse a metric that a kind of task does not have.

    Raises:
        StatisticsError: It has other metrics.
    """
    if name not in metrics_of(kind):
        raise StatisticsError(
            f"no metric {name!r} for a {kind} task: choose among {', '.join(metrics_of(kind))}"
        )


def prepare(
    labels: npt.ArrayLike,
    scores: npt.ArrayLike,
    metrics: Sequence[str] | None = None,
    folds: npt.NDArray | None = None,
) -> tuple[Predictions, tuple[str, ...]]:
    """Predictions and the names of metrics, checked to fit together.

    Args:
        labels: (n,) or (n, K), as in `inputs`.
        scores: (n,) or (n, K).
        metrics: Names of the metrics, all of the kind by default.
        folds: (n,) which classifier scored each lesion, where there are several.

    Raises:
        StatisticsError: As `Predictions`, a name is unknown, or a metric needs probabilities and
            the scores are none.
    """
    predictions = Predictions(labels, scores, folds)
    names = metrics_of(predictions.kind) if metrics is None else tuple(metrics)
    for name in names:
        require_metric(name, predictions.kind)
    stated = [name for name in names if METRICS[name].reads == "probabilities"]
    if stated and not predictions.are_probabilities:
        raise StatisticsError(
            f"{', '.join(stated)}: scores have to be probabilities (0 to 1, classes summing to 1): "
            "fit a classifier on the scores, or ask for metrics of ranking only"
        )
    return predictions, names


def evaluate(predictions: Predictions, names: Sequence[str], weights: npt.ArrayLike) -> Array:
    """Evaluate metrics under D weightings of n samples, (n, D) -> (M, D)."""
    ranked = sum(METRICS[name].reads == "ranks" for name in names)
    given = Weighted(predictions, weights, keep=ranked > 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.stack([METRICS[name].function(given) for name in names])


def compute_metrics(
    labels: npt.ArrayLike,
    scores: npt.ArrayLike,
    metrics: Sequence[str] | None = None,
    folds: npt.NDArray | None = None,
) -> dict[str, float]:
    """Compute the metrics of one set of predictions by name, NaN where undefined; as `prepare`."""
    predictions, names = prepare(labels, scores, metrics, folds)
    values = evaluate(predictions, names, np.ones((predictions.n, 1)))[:, 0]
    return dict(zip(names, values.tolist(), strict=True))


def mean_metrics(
    labels: npt.NDArray, scores: SeedScores, metrics: Sequence[str] | None = None
) -> tuple[tuple[str, ...], Statistic]:
    """Names of metrics, and their mean over seeds and repeats as a function of the weights.

    It is undefined where a metric is undefined for one of them. Arguments and errors as `prepare`.
    """
    parts = [prepare(labels, one, metrics, folds) for one, folds in scores.parts()]
    names = parts[0][1]
    return names, mean_of([one for one, _ in parts], names)


def mean_of(parts: Sequence[Predictions], names: Sequence[str]) -> Statistic:
    """The mean of metrics over predictions of the same samples."""
    return lambda weights: np.mean([evaluate(one, names, weights) for one in parts], axis=0)
