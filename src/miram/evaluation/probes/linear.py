"""Linear probe: how much of a label a frozen encoder's features give away to a linear classifier.

Features are standardized on the training lesions. The inverse penalty C is chosen by a
patient-grouped inner cross-validation on these lesions alone, and so is the temperature that
mends the probabilities; evaluation lesions are only scored. Where features of several layers stand
side by side, the same inner folds can choose the layer.
"""

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import Field, field_validator
from scipy import special
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from miram.errors import MiramError
from miram.evaluation.probes.protocols import Array, Probe, ProbeScores, TrainingLesions
from miram.evaluation.statistics.calibration import fit_temperature
from miram.evaluation.statistics.inputs import Kind, one_hot, rarest_class
from miram.mammography.splits import stratified_pairs

_ITERATIONS = 500  # of L-BFGS per fit
_TOLERANCE = 1e-4  # of L-BFGS, on the gradient
_INNER_TOLERANCE = 1e-3  # the same while C is chosen, which needs less


class LinearProbeConfig(Probe):
    """How a linear probe is fitted."""

    protocol: ClassVar[str] = "linear"

    regularization: tuple[float, ...] = Field(
        default=(1e-3, 1e-2, 1e-1, 1.0),
        min_length=1,
        description="Values of C tried, the inverse of the L2 penalty on standardized features",
    )
    inner_folds: int = Field(
        default=5, ge=2, le=20, description="Patient-grouped folds that choose C"
    )
    blocks: int = Field(
        default=1,
        ge=1,
        description="number of equal parts that the features are made of, as of features.layers "
        "with three layers: the inner folds choose one; 1 reads all of them side by side",
    )
    seed: int = Field(default=0, ge=0, description="Seed of the inner folds")

    @field_validator("regularization")
    @classmethod
    def _positive_and_ascending(cls, values: tuple[float, ...]) -> tuple[float, ...]:
        if min(values) <= 0 or list(values) != sorted(set(values)):
            raise ValueError("values of C must be positive and ascending")
        return values

    def scores(self, train: TrainingLesions, features: npt.NDArray) -> ProbeScores:
        """Fit a classifier and score lesions; as `Probe.scores`."""
        # The products are small: threads would wait for each other, and sums depend on them.
        with threadpool_limits(1, user_api="blas"):
            classifier = fit_classifier(train, self)
            found = classifier.predict(features)
            return ProbeScores(found, classifier.temperature, classifier.warning)


def standardize(features: npt.NDArray) -> tuple[Array, Array, npt.NDArray[np.float32]]:
    """Bring each of (n, d) features to mean 0 and deviation 1.

    Returns:
        Mean (d,), divisor (d,), and the standardized features in single precision, which halves
        the time of a fit; the classifier is the same to its tolerance.
    """
    mean = features.mean(axis=0, dtype=np.float64)
    scale = features.std(axis=0, dtype=np.float64)
    # A feature that hardly varies would only be rounding noise, blown up.
    scale = np.where(scale > 1e-6 * np.maximum(np.abs(mean), 1e-6), scale, 1.0)
    return mean, scale, ((features - mean) / scale).astype(np.float32)


def varied(hot: npt.NDArray[np.bool_], kind: Kind) -> bool:
    """Whether (n, K) labels leave a classifier anything to learn."""
    if kind == "single":
        return int(hot.any(axis=0).sum()) > 1
    return bool((hot.any(axis=0) & ~hot.all(axis=0)).any())


def probabilities(
    standardized: npt.NDArray, coefficients: Array, intercepts: Array, kind: Kind
) -> Array:
    """Probabilities of (m, d) standardized features: (m,) for `binary`, otherwise (m, K)."""
    logits = standardized @ coefficients.T + intercepts  # (m, d) @ (d, K) -> (m, K)
    if kind == "single":
        return special.softmax(logits, axis=1)
    return special.expit(logits[:, 0] if kind == "binary" else logits)


def regularization_path(
    standardized: npt.NDArray[np.float32],
    hot: npt.NDArray[np.bool_],
    kind: Kind,
    grid: Sequence[float],
    tolerance: float,
) -> Iterator[tuple[Array, Array, bool]]:
    """Fit at one value of C of an ascending grid after the other, each from the last.

    Features are (n, d), labels (n, K) with one column for `binary`.

    Yields:
        Coefficients (K, d), intercepts (K,) and whether the tolerance was met, for each C. The
        intercept of a class of a `single` task that does not occur is minus infinity.
    """
    targets = [hot.argmax(axis=1)] if kind == "single" else list(hot.astype(np.intp).T)
    models = [
        LogisticRegression(solver="lbfgs", warm_start=True, tol=tolerance, max_iter=_ITERATIONS)
        for _ in targets
    ]
    for strength in grid:
        coefficients = np.zeros((hot.shape[1], standardized.shape[1]))
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
                model.fit(standardized, target)
            converged &= bool(model.n_iter_.max() < _ITERATIONS)
            rows = model.classes_ if kind == "single" else [column]
            # With two classes scikit-learn keeps only the second one's row.
            rows = rows[-len(model.coef_) :]
            coefficients[rows], intercepts[rows] = model.coef_, model.intercept_
            if kind == "single" and len(model.classes_) == 2:
                intercepts[model.classes_[0]] = 0.0
        yield coefficients, intercepts, converged


def held_out_scores(
    features: npt.NDArray,
    hot: npt.NDArray[np.bool_],
    groups: npt.NDArray,
    kind: Kind,
    config: LinearProbeConfig,
) -> Array:
    """Score training lesions by classifiers that have not seen their patients, at each C.

    Features are (n, d), labels (n, K) with one column for `binary`, and patients (n,).

    Returns:
        (C, n, K) probabilities; NaN where the inner fold could not learn a lesion's class.
    """
    grid = config.regularization
    number = min(config.inner_folds, len(np.unique(groups)))
    folds = stratified_pairs(rarest_class(hot), groups, number, config.seed)
    scores = np.full((len(grid), *hot.shape), np.nan)
    for train, held in folds:
        if not (len(held) and varied(hot[train], kind)):
            continue
        mean, scale, standardized = standardize(features[train])
        held_out = (features[held] - mean) / scale
        learned = np.asarray(hot[train].any(axis=0))
        known = np.ones(len(held), bool)
        if kind == "single":
            known = learned[hot[held].argmax(axis=1)]
        path = regularization_path(standardized, hot[train], kind, grid, _INNER_TOLERANCE)
        for index, fitted in enumerate(path):
            found = probabilities(held_out, *fitted[:2], kind).reshape(len(held), -1)
            scores[index, held[known]] = found[known]
    return scores


def log_loss(scores: Array, hot: npt.NDArray[np.bool_]) -> float:
    """Mean over the lesions held out and classes, infinite without any; (n, K) both.

    It says which C to choose: the AUC of a few small folds is too noisy, docs/decisions/031.
    """
    known = np.isfinite(scores).all(axis=1)
    if not known.any():
        return float("inf")
    right = np.where(hot[known], scores[known], 1 - scores[known])
    return float(-np.log(np.clip(right, 1e-15, None)).mean())


def inner_temperature(scores: Array, hot: npt.NDArray[np.bool_], kind: Kind) -> float:
    """Temperature that mends the probabilities of training lesions held out, 1 without any."""
    known = np.isfinite(scores).all(axis=1)
    if not known.any():
        return 1.0
    scores, labels = scores[known], hot[known].astype(np.int64)
    if kind == "single":
        return fit_temperature(labels.argmax(axis=1), scores)
    if kind == "binary":
        return fit_temperature(labels[:, 0], scores[:, 0])
    return fit_temperature(labels, scores)


@dataclass(frozen=True)
class LinearClassifier:
    """A fitted probe, usable on new features.

    Attributes:
        kind: `binary`, `single` or `multi`.
        mean: (d,) subtracted from the features.
        scale: (d,) divided by.
        coefficients: (K, d) on standardized features, one row for `binary`.
        intercepts: (K,); minus infinity for a class that training did not have.
        regularization: The chosen C.
        inner_loss: Log loss of the lesions held out by the inner folds, per C tried.
        converged: Whether the final fit met the tolerance.
        lesions: Number of training lesions.
        patients: Number of training patients.
        temperature: What the logits are to be divided by for calibrated probabilities, fitted on
            the lesions held out by the inner folds; 1 changes nothing.
    """

    kind: Kind
    mean: Array
    scale: Array
    coefficients: Array
    intercepts: Array
    regularization: float
    inner_loss: dict[float, float]
    converged: bool
    lesions: int
    patients: int
    temperature: float = 1.0

    @property
    def warning(self) -> str:
        """Says that the chosen penalty is the last one tried; empty if it is not."""
        tried = list(self.inner_loss)
        if len(tried) < 2 or tried[0] < self.regularization < tried[-1]:
            return ""
        end = "strongest" if self.regularization == tried[0] else "weakest"
        return f"the {end} penalty tried was chosen, C = {self.regularization:g}"

    def predict(self, features: npt.ArrayLike) -> Array:
        """Probabilities of (m, d) features: (m,) for `binary`, otherwise (m, K)."""
        standardized = (np.asarray(features, np.float64) - self.mean) / self.scale
        return probabilities(standardized, self.coefficients, self.intercepts, self.kind)


def fit_classifier(train: TrainingLesions, config: LinearProbeConfig) -> LinearClassifier:
    """Fit one multinomial classifier for (n,) labels, for (n, K) labels one each with a common C.

    Raises:
        MiramError: The lesions are of one class or one patient only.
    """
    multi = train.labels.ndim == 2
    kind: Kind = "multi" if multi else ("binary" if train.classes <= 2 else "single")
    hot = one_hot(train.labels, train.classes)
    hot = hot[:, -1:] if kind == "binary" else hot
    patients = len(np.unique(train.patients))
    if patients < 2 or not varied(hot, kind):
        raise MiramError(
            f"a probe cannot learn from {len(hot)} training lesions of {patients} patients: at "
            "least two patients and two classes are needed"
        )
    columns, scores, losses = _choose_block(train, hot, kind, config)
    best = int(losses.argmin())  # of equals the strongest penalty
    mean, scale, standardized = standardize(train.features[:, columns])
    chosen = config.regularization[best]
    coefficients, intercepts, converged = next(
        regularization_path(standardized, hot, kind, [chosen], _TOLERANCE)
    )
    width = train.features.shape[1]
    return LinearClassifier(
        kind=kind,
        mean=_widened(mean, columns, width),
        scale=_widened(scale, columns, width, rest=1.0),
        coefficients=_widened(coefficients, columns, width),
        intercepts=intercepts,
        regularization=chosen,
        inner_loss=dict(zip(config.regularization, losses.tolist(), strict=True)),
        converged=converged,
        lesions=len(hot),
        patients=patients,
        temperature=inner_temperature(scores[best], hot, kind),
    )


def _choose_block(
    train: TrainingLesions, hot: npt.NDArray[np.bool_], kind: Kind, config: LinearProbeConfig
) -> tuple[slice, Array, Array]:
    """Columns of the block with the least held-out loss, of equals the first.

    With them the (C, n, K) probabilities of the lesions held out, and their (C,) losses.
    """
    size, rest = divmod(train.features.shape[1], config.blocks)
    if rest:
        raise MiramError(
            f"evaluation.linear_probe.blocks is {config.blocks}, but {train.features.shape[1]} "
            "features are no multiple of it: give the number of features.layers"
        )
    blocks = [slice(block * size, (block + 1) * size) for block in range(config.blocks)]
    scores = [
        held_out_scores(train.features[:, columns], hot, train.patients, kind, config)
        for columns in blocks
    ]
    losses = np.array([[log_loss(one, hot) for one in block] for block in scores])
    best = int(losses.min(axis=1).argmin())
    return blocks[best], scores[best], losses[best]


def _widened(values: Array, columns: slice, width: int, rest: float = 0.0) -> Array:
    """(..., b) values of some of `width` columns, with `rest` for the others: (..., width)."""
    wide = np.full((*values.shape[:-1], width), rest)
    wide[..., columns] = values
    return wide


def require_finite(features: npt.NDArray) -> None:
    """Refuse features that are not finite.

    Raises:
        MiramError: Some are not.
    """
    bad = np.flatnonzero(~np.isfinite(features).all(axis=1))
    if len(bad):
        raise MiramError(
            f"{len(bad)} of {len(features)} lesions have features that are not finite, the first "
            f"in row {bad[0]}: did pretraining diverge?"
        )
