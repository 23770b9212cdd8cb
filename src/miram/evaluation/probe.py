"""Linear probe: how much of a label a frozen encoder's features give away to a linear classifier.

Features are standardised on the training lesions. The inverse penalty C is chosen by a
patient-grouped inner cross-validation on these lesions alone; evaluation lesions are only scored.
For temperature scaling put the validation lesions on the evaluation side of the pair: they are
then scored by the same classifier without having trained it.
"""

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from pydantic import Field, field_validator
from scipy import special
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold
from threadpoolctl import threadpool_limits

from miram.configuration import Config
from miram.errors import MiramError
from miram.evaluation.kinds import Kind, one_hot
from miram.evaluation.pairs import OutOfFold, Pair, Rows, out_of_fold
from miram.evaluation.ranking import RankingCurve

Array = npt.NDArray[np.float64]


class LinearProbeConfig(Config):
    """How a linear probe is fitted."""

    regularization: tuple[float, ...] = Field(
        default=(1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0),
        min_length=1,
        description="Values of C tried, the inverse of the L2 penalty on standardised features",
    )
    inner_folds: int = Field(
        default=3, ge=2, le=20, description="Patient-grouped folds that choose C"
    )
    max_iterations: int = Field(default=500, ge=10, description="L-BFGS iterations per fit")
    tolerance: float = Field(default=1e-4, gt=0, description="L-BFGS tolerance on the gradient")
    seed: int = Field(default=0, ge=0, description="Seed of the inner folds")

    @field_validator("regularization")
    @classmethod
    def _positive_and_ascending(cls, values: tuple[float, ...]) -> tuple[float, ...]:
        if min(values) <= 0 or list(values) != sorted(set(values)):
            raise ValueError("values of C must be positive and ascending")
        return values


@dataclass(frozen=True)
class LinearClassifier:
    """A fitted probe, usable on new features.

    Attributes:
        kind: `binary`, `single` or `multi`.
        mean: (d,) subtracted from the features.
        scale: (d,) divided by.
        coefficients: (K, d) on standardised features, one row for `binary`.
        intercepts: (K,); minus infinity for a class that training did not have.
        regularization: The chosen C.
        inner_auc: Macro AUC of the inner cross-validation per C tried, NaN where undefined.
        converged: Whether the final fit met the tolerance.
        lesions: Number of training lesions.
        patients: Number of training patients.
    """

    kind: Kind
    mean: Array
    scale: Array
    coefficients: Array
    intercepts: Array
    regularization: float
    inner_auc: dict[float, float]
    converged: bool
    lesions: int
    patients: int

    def predict(self, features: npt.ArrayLike) -> Array:
        """Probabilities of (m, d) features: (m,) for `binary`, otherwise (m, K)."""
        standardised = (np.asarray(features, np.float64) - self.mean) / self.scale
        return _probabilities(standardised, self.coefficients, self.intercepts, self.kind)


@dataclass(frozen=True)
class ProbeResult:
    """Out-of-fold scores and the classifiers behind them, one per pair."""

    predictions: OutOfFold
    classifiers: tuple[LinearClassifier, ...]


def fit_linear_probe(
    features: npt.ArrayLike,
    labels: npt.ArrayLike,
    groups: npt.ArrayLike,
    pairs: Sequence[Pair],
    config: LinearProbeConfig,
) -> ProbeResult:
    """Fit a linear probe on each pair's training rows and score its evaluation rows.

    One multinomial classifier for (n,) labels, one classifier per label for (n, K) labels with a
    common C.

    Args:
        features: (n, d) finite features.
        labels: (n,) classes from 0 (two classes: binary), or (n, K) of 0 and 1.
        groups: (n,) patient of each lesion.
        pairs: Training and evaluation row numbers: one pair for a fixed split (the official one,
            say), k for k-fold.
        config: How to fit.

    Returns:
        Scores of every evaluated lesion, (m,) for two classes and (m, K) otherwise, and the
        classifiers.

    Raises:
        MiramError: If a patient is on both sides of a pair, a feature is not finite, shapes do not
            fit, or training lesions show one class or one patient only.
    """
    features, labels = np.asarray(features), np.asarray(labels)
    groups = np.asarray(groups)
    _validate(features, labels, groups)
    classes = labels.shape[1] if labels.ndim == 2 else int(labels.max()) + 1
    kind: Kind = "multi" if labels.ndim == 2 else ("binary" if classes <= 2 else "single")
    hot = one_hot(labels, classes)[:, -1:] if kind == "binary" else one_hot(labels, classes)
    classifiers: list[LinearClassifier] = []

    def fit_predict(train: Rows, evaluation: Rows) -> Array:
        # The same lesions in another order must give the same folds and the same sums.
        keys = (*features[train, :8].T, groups[train])
        train = train[np.lexsort(keys)]
        # The products are small: threads would wait for each other, and sums would depend on them.
        with threadpool_limits(1, user_api="blas"):
            classifier = _fit(features[train], hot[train], groups[train], kind, config)
            classifiers.append(classifier)
            return classifier.predict(features[evaluation])

    predictions = out_of_fold(groups, pairs, fit_predict)
    return ProbeResult(predictions, tuple(classifiers))


def _fit(
    features: npt.NDArray,
    hot: npt.NDArray[np.bool_],
    groups: npt.NDArray,
    kind: Kind,
    config: LinearProbeConfig,
) -> LinearClassifier:
    patients = len(np.unique(groups))
    if patients < 2 or not _varied(hot, kind):
        raise MiramError(
            f"a probe cannot learn from {len(hot)} training lesions of {patients} patients: at "
            "least two patients and two classes are needed"
        )
    grid = config.regularization
    by_fold = np.full((1, len(grid)), np.nan)
    if len(grid) > 1:
        inner = _inner_folds(hot, groups, config)
        by_fold = np.array(
            [_inner_auc(features, hot, train, held, kind, config) for train, held in inner]
        )
    auc = _nanmean(by_fold, axis=0)
    # The first of equals is the simplest one; without any defined AUC that is the first of all.
    best = int(np.nan_to_num(auc, nan=-1.0).argmax())
    mean, scale, standardised = _standardise(features)
    coefficients, intercepts, converged = next(
        _path(standardised, hot, kind, grid[best : best + 1], config)
    )
    return LinearClassifier(
        kind=kind,
        mean=mean,
        scale=scale,
        coefficients=coefficients,
        intercepts=intercepts,
        regularization=grid[best],
        inner_auc=dict(zip(grid, auc.tolist(), strict=True)),
        converged=converged,
        lesions=len(hot),
        patients=patients,
    )


def _inner_folds(
    hot: npt.NDArray[np.bool_], groups: npt.NDArray, config: LinearProbeConfig
) -> list[Pair]:
    # A lesion with several labels counts for its rarest one, the hardest to spread evenly.
    rarity = np.where(hot, hot.sum(axis=0), np.inf)
    strata = np.where(hot.any(axis=1), rarity.argmin(axis=1), hot.shape[1])
    folds = min(config.inner_folds, len(np.unique(groups)))
    if np.bincount(strata).max() < folds:
        strata = np.zeros_like(strata)
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=config.seed)
    with warnings.catch_warnings():
        # A class with fewer lesions than folds is missing in some; its AUC is then left out there.
        warnings.filterwarnings("ignore", message="The least populated class", category=UserWarning)
        return list(splitter.split(strata, strata, groups))


def _inner_auc(
    features: npt.NDArray,
    hot: npt.NDArray[np.bool_],
    train: Rows,
    held: Rows,
    kind: Kind,
    config: LinearProbeConfig,
) -> Array:
    """Macro AUC on the held-out rows for every C, (C,), over the classes that both sides have."""
    values = np.full(len(config.regularization), np.nan)
    if not (len(held) and _varied(hot[train], kind)):
        return values
    mean, scale, standardised = _standardise(features[train])
    held_out = (features[held] - mean) / scale
    learned = hot[train].any(axis=0)
    path = _path(standardised, hot[train], kind, config.regularization, config)
    for index, (coefficients, intercepts, _) in enumerate(path):
        scores = _probabilities(held_out, coefficients, intercepts, kind).reshape(len(held), -1)
        weights = np.ones((len(held), 1))
        by_class = [
            RankingCurve(hot[held, k], scores[:, k]).evaluate(weights).auc[0]
            for k in np.flatnonzero(learned)
        ]
        values[index] = _nanmean(np.array(by_class), axis=0)
    return values


def _path(
    standardised: npt.NDArray[np.float32],
    hot: npt.NDArray[np.bool_],
    kind: Kind,
    grid: Sequence[float],
    config: LinearProbeConfig,
) -> Iterator[tuple[Array, Array, bool]]:
    """Coefficients (K, d), intercepts (K,) and convergence for each C, each fit from the last."""
    targets = [hot.argmax(axis=1)] if kind == "single" else list(hot.astype(np.intp).T)
    models = [
        LogisticRegression(
            solver="lbfgs",
            warm_start=True,
            tol=config.tolerance,
            max_iter=config.max_iterations,
        )
        for _ in targets
    ]
    for strength in grid:
        coefficients = np.zeros((hot.shape[1], standardised.shape[1]))
        intercepts = np.full(hot.shape[1], -np.inf)
        converged = True
        for column, (model, target) in enumerate(zip(models, targets, strict=True)):
            if kind != "single" and not 0 < target.sum() < len(target):
                # A label that never or always occurs: nothing to learn but its frequency.
                intercepts[column] = special.logit((target.sum() + 0.5) / (len(target) + 1))
                continue
            model.C = strength
            with warnings.catch_warnings():
                # Reported as `converged` instead.
                warnings.simplefilter("ignore", ConvergenceWarning)
                model.fit(standardised, target)
            converged &= bool(model.n_iter_.max() < config.max_iterations)
            rows = model.classes_ if kind == "single" else [column]
            # With two classes scikit-learn keeps only the second one's row.
            rows = rows[-len(model.coef_) :]
            coefficients[rows], intercepts[rows] = model.coef_, model.intercept_
            if kind == "single" and len(model.classes_) == 2:
                intercepts[model.classes_[0]] = 0.0
        yield coefficients, intercepts, converged


def _probabilities(
    standardised: npt.NDArray, coefficients: Array, intercepts: Array, kind: Kind
) -> Array:
    logits = standardised @ coefficients.T + intercepts  # (m, d) @ (d, K) -> (m, K)
    if kind == "single":
        return special.softmax(logits, axis=1)
    return special.expit(logits[:, 0] if kind == "binary" else logits)


def _standardise(features: npt.NDArray) -> tuple[Array, Array, npt.NDArray[np.float32]]:
    mean = features.mean(axis=0, dtype=np.float64)
    scale = features.std(axis=0, dtype=np.float64)
    # A feature that hardly varies would only be rounding noise, blown up.
    scale = np.where(scale > 1e-6 * np.maximum(np.abs(mean), 1e-6), scale, 1.0)
    # Single precision halves the time of a fit; the classifier is the same to its tolerance.
    return mean, scale, ((features - mean) / scale).astype(np.float32)


def _varied(hot: npt.NDArray[np.bool_], kind: Kind) -> bool:
    if kind == "single":
        return int(hot.any(axis=0).sum()) > 1
    return bool((hot.any(axis=0) & ~hot.all(axis=0)).any())


def _nanmean(values: Array, axis: int) -> Array:
    defined = np.isfinite(values)
    count = defined.sum(axis=axis)
    total = np.where(defined, values, 0.0).sum(axis=axis)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _validate(features: npt.NDArray, labels: npt.NDArray, groups: npt.NDArray) -> None:
    if features.ndim != 2 or not len(features) == len(labels) == len(groups) > 0:
        raise MiramError(
            f"a probe needs features (n, d), labels and patients of the same n lesions, got "
            f"{features.shape}, {labels.shape} and {groups.shape}"
        )
    bad = np.flatnonzero(~np.isfinite(features).all(axis=1))
    if len(bad):
        raise MiramError(
            f"{len(bad)} of {len(features)} lesions have features that are not finite, the first "
            f"in row {bad[0]}: did pretraining diverge?"
        )
