"""The probe that goes into service: fitted once on all training lesions, kept as plain arrays."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from miram.errors import MiramError
from miram.evaluation.config import AssessmentConfig
from miram.evaluation.probes.fold_features import WHOLE, features_by_seed
from miram.evaluation.probes.linear import LinearClassifier, LinearProbeConfig, fit_linear_probe
from miram.evaluation.statistics.inputs import Kind
from miram.evaluation.tasks.pairs import evaluation_pairs
from miram.evaluation.tasks.targets import targets_of
from miram.files import atomic_path

_NOBODY = ""  # no patient has this name


@dataclass(frozen=True)
class ServedProbe:
    """A fitted probe with the names of its task and classes.

    Attributes:
        task: Name of the task.
        classes: K names.
        classifier: The fitted probe, its coefficients and intercepts divided by its
            temperature: what it predicts is calibrated.
    """

    task: str
    classes: tuple[str, ...]
    classifier: LinearClassifier

    def probabilities(self, features: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Probabilities of every class, also of both classes of a binary task.

        Args:
            features: (n, d).

        Returns:
            (n, K), in the order of `classes`.
        """
        scores = self.classifier.predict(features)
        return np.column_stack([1 - scores, scores]) if scores.ndim == 1 else scores

    def save(self, path: str | Path) -> None:
        """Write an `.npz` file of plain arrays, whole or not at all."""
        fitted = self.classifier
        arrays = {
            "mean": fitted.mean,
            "std": fitted.scale,
            "coef": fitted.coefficients,
            "intercept": fitted.intercepts,
            "temperature": np.array(fitted.temperature),
            "classes": np.array(self.classes),
            "task": np.array(self.task),
            "kind": np.array(fitted.kind),
            "regularization": np.array(fitted.regularization),
            "tried": np.array(list(fitted.inner_auc), np.float64),
            "inner_auc": np.array(list(fitted.inner_auc.values()), np.float64),
            "converged": np.array(fitted.converged),
            "lesions": np.array(fitted.lesions),
            "patients": np.array(fitted.patients),
        }
        with atomic_path(path) as temporary, temporary.open("wb") as file:
            np.savez(file, allow_pickle=False, **arrays)

    @classmethod
    def load(cls, path: str | Path) -> "ServedProbe":
        """Read an `.npz` file written by `save`.

        Raises:
            MiramError: There is no such file, or it holds something else.
        """
        try:
            with np.load(path, allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
            kind: Kind = arrays["kind"].item()
            inner = zip(arrays["tried"].tolist(), arrays["inner_auc"].tolist(), strict=True)
            classifier = LinearClassifier(
                kind=kind,
                mean=arrays["mean"],
                scale=arrays["std"],
                coefficients=arrays["coef"],
                intercepts=arrays["intercept"],
                regularization=arrays["regularization"].item(),
                inner_auc=dict(inner),
                converged=arrays["converged"].item(),
                lesions=arrays["lesions"].item(),
                patients=arrays["patients"].item(),
                temperature=arrays["temperature"].item(),
            )
            return cls(arrays["task"].item(), tuple(arrays["classes"].tolist()), classifier)
        except (OSError, ValueError, KeyError) as error:
            raise MiramError(f"{path} is no probe that miram wrote: {error}") from error


def fit_served_probe(
    features: pd.DataFrame,
    lesions: pd.DataFrame,
    splits: pd.DataFrame,
    task: str,
    config: AssessmentConfig,
    seed: int = 0,
) -> ServedProbe:
    """Fit one probe on all training lesions of a task.

    With the official split these are its training and validation lesions, so that the probe is
    the very one whose test metrics are reported. Under cross-validation they are all lesions:
    the reported metrics are those of the procedure, each fold judged without its patients.

    Args:
        features: Table of `feature_table`: `lesion_id` and the features.
        lesions: Lesion table.
        splits: Which lesion is on which side.
        task: Name of the task.
        config: What the task means, and the settings of the probe.
        seed: Of the training whose features are read.

    Raises:
        MiramError: The lesions at hand cannot answer the task, or there is an encoder per fold.
    """
    targets = targets_of(lesions, splits, config.task(task), config.without_callback)
    if not targets.supported:
        raise MiramError(f"no probe can be fitted for task {task}: {targets.skipped[-1].reason}")
    (by_fold,) = features_by_seed(features, splits["lesion_id"], (seed,)).values()
    if set(by_fold) != {WHOLE}:
        raise MiramError(
            "a method with one encoder per fold has none that could be served: run the study "
            "with splits.strategy=official for a single encoder"
        )
    learned = np.isin(targets.rows, _training_rows(splits))
    rows, labels = targets.rows[learned], targets.labels[learned]
    patients = splits["patient_id"].to_numpy(dtype=object)[rows]
    fitted = _fit(by_fold[WHOLE][rows], labels, patients, config.linear_probe)
    return ServedProbe(task, targets.classes, calibrated(fitted))


def calibrated(fitted: LinearClassifier) -> LinearClassifier:
    """The same classifier with its temperature in its coefficients: the same ranking."""
    return replace(
        fitted,
        coefficients=fitted.coefficients / fitted.temperature,
        intercepts=fitted.intercepts / fitted.temperature,
    )


def _training_rows(splits: pd.DataFrame) -> npt.NDArray[np.intp]:
    pairs = evaluation_pairs(splits)
    return pairs[0][0] if len(pairs) == 1 else np.concatenate([judged for _, judged in pairs])


def _fit(
    features: npt.NDArray, labels: npt.NDArray, patients: npt.NDArray, config: LinearProbeConfig
) -> LinearClassifier:
    # A probe is fitted to judge somebody: a copy of the first lesion stands for a new patient.
    everyone = np.arange(len(labels))
    result = fit_linear_probe(
        np.concatenate([features, features[:1]]),
        np.concatenate([labels, labels[:1]]),
        np.append(patients, _NOBODY).astype(str),
        [(everyone, np.array([len(labels)]))],
        config,
    )
    return result.classifiers[0]
