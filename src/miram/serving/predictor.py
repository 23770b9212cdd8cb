"""All that answers for a new mammogram: encoder, probe, and how crops are cut and read."""

import hashlib
import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from threadpoolctl import threadpool_limits

from miram.errors import MiramError
from miram.evaluation.config import AssessmentConfig
from miram.evaluation.features.extract import ORIGIN, encoder_digest, feature_origin
from miram.evaluation.features.pooling import FeatureConfig
from miram.evaluation.probes.linear import (
    LinearClassifier,
    LinearProbeConfig,
    fit_classifier,
    require_finite,
)
from miram.evaluation.probes.protocols import TrainingLesions
from miram.evaluation.probes.scoring import WHOLE, features_by_seed
from miram.evaluation.statistics.inputs import Kind
from miram.evaluation.tasks.pairs import evaluation_pairs, ordered_rows
from miram.evaluation.tasks.targets import targets_of
from miram.files import check, recorded_path
from miram.mammography.crops.cut import CROPPING_VERSION, MASK_STEP, CropConfig
from miram.mammography.crops.store import CropStore
from miram.mammography.sources.wanted import WantedImages
from miram.models.checkpoints.files import EncoderCheckpoint
from miram.models.export.shared import atomic_folder
from miram.serving.requests import require_cropping

RESEARCH_USE_ONLY = "Research use only. Not a medical device."
ENCODER, PROBE, SETTINGS = "encoder.safetensors", "probe.npz", "settings.json"


@dataclass(frozen=True)
class ServedProbe:
    """A fitted probe with the names of its task and of its K classes.

    The classifier's coefficients and intercepts are divided by its temperature: what it predicts
    is calibrated.
    """

    task: str
    classes: tuple[str, ...]
    classifier: LinearClassifier

    def probabilities(self, features: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Probabilities of every class, both of a binary task as well: (n, d) -> (n, K)."""
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
            "tried": np.array(list(fitted.inner_loss), np.float64),
            "inner_loss": np.array(list(fitted.inner_loss.values()), np.float64),
            "converged": np.array(fitted.converged),
            "lesions": np.array(fitted.lesions),
            "patients": np.array(fitted.patients),
        }
        with recorded_path(path) as temporary, temporary.open("wb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]

    @classmethod
    def load(cls, path: str | Path) -> "ServedProbe":
        """Read an `.npz` file written by `save`.

        Raises:
            MiramError: There is no such file, or it holds something else.
        """
        check(path)
        try:
            with np.load(path, allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
            kind: Kind = arrays["kind"].item()
            tried = arrays["tried"]
            losses = arrays.get("inner_loss", np.full_like(tried, np.nan))  # older files have none
            classifier = LinearClassifier(
                kind=kind,
                mean=arrays["mean"],
                scale=arrays["std"],
                coefficients=arrays["coef"],
                intercepts=arrays["intercept"],
                regularization=arrays["regularization"].item(),
                inner_loss=dict(zip(tried.tolist(), losses.tolist(), strict=True)),
                converged=arrays["converged"].item(),
                lesions=arrays["lesions"].item(),
                patients=arrays["patients"].item(),
                temperature=arrays["temperature"].item(),
            )
            return cls(arrays["task"].item(), tuple(arrays["classes"].tolist()), classifier)
        except (OSError, ValueError, KeyError) as error:
            raise MiramError(f"{path} is no probe that miram wrote: {error}") from error


@dataclass(frozen=True)
class Predictor:
    """An encoder with all that its features and probabilities depend on.

    Of `crops`, which says how crops are cut, `backgrounds_per_image` is the number of patches that
    stand for a mammogram in which nothing is marked.
    """

    encoder: EncoderCheckpoint
    features: FeatureConfig  # how its tokens become one vector
    crops: CropConfig
    probe: ServedProbe | None = None  # fitted on its features; None for features alone
    about: dict[str, Any] = field(default_factory=dict)  # such as `method` and `data_digest`
    wanted: WantedImages = field(default_factory=WantedImages)  # DICOM files it answers for
    origin: str = ""  # where it was loaded from, such as models:/miram-mae/3; no part of it

    @property
    def mask_cells(self) -> int:
        """Cells along each side of a crop's lesion mask."""
        return self.crops.image_size // MASK_STEP

    def settings(self) -> dict[str, Any]:
        """Everything but weights, as it can be written as JSON."""
        return {
            "notice": RESEARCH_USE_ONLY,
            "about": self.about,
            "task": self.probe and self.probe.task,
            "classes": list(self.probe.classes) if self.probe else [],
            "reads_masks": self.features.reads_masks,
            "mask_cells": self.mask_cells,
            "cropping_version": CROPPING_VERSION,
            "features": self.features.model_dump(mode="json"),
            "crops": self.crops.stored(),
            "wanted": self.wanted.model_dump(mode="json"),
        }

    def digest(self) -> str:
        """Name of this predictor: a hash of its weights and settings."""
        digest = hashlib.sha256(json.dumps(self.settings(), sort_keys=True).encode())
        digest.update(encoder_digest(self.encoder).encode())
        if self.probe:
            fitted = self.probe.classifier
            for array in (fitted.mean, fitted.scale, fitted.coefficients, fitted.intercepts):
                digest.update(array.tobytes())
        return digest.hexdigest()[:16]

    def save(self, folder: str | Path) -> None:
        """Write `encoder.safetensors`, `probe.npz` and `settings.json`, all or nothing.

        Raises:
            MiramError: The folder holds something already.
        """
        with atomic_folder(folder) as temporary:
            self.encoder.save(temporary / ENCODER)
            if self.probe:
                self.probe.save(temporary / PROBE)
            with recorded_path(temporary / SETTINGS) as path:
                path.write_text(json.dumps(self.settings(), indent=2) + "\n")

    @classmethod
    def load(cls, folder: str | Path) -> "Predictor":
        """Read what `save` wrote.

        Raises:
            MiramError: There is no predictor, it is damaged, or its crops were cut in a way
                that this version of miram does not cut.
        """
        folder = Path(folder)
        check(folder / SETTINGS)
        try:
            settings = json.loads((folder / SETTINGS).read_text())
            version, about = settings["cropping_version"], settings["about"]
            features, crops = settings["features"], settings["crops"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise MiramError(f"no predictor at {folder}: {error}") from error
        require_cropping(version)
        probe = folder / PROBE
        return cls(
            encoder=EncoderCheckpoint.load(folder / ENCODER),
            features=FeatureConfig.model_validate(features),
            crops=CropConfig.from_stored(crops),
            probe=ServedProbe.load(probe) if probe.is_file() else None,
            about=about,
            wanted=WantedImages.model_validate(settings.get("wanted", {})),
        )


def crop_settings(store: CropStore, patches: int) -> CropConfig:
    """How the crops of a store were cut, for cutting new ones alike.

    `patches` stand for a mammogram in which nothing is marked.

    Raises:
        MiramError: The store was cut by another version of the cropping.
    """
    parameters = dict(store.info["parameters"])
    version = parameters.pop("version")
    if version != CROPPING_VERSION:
        raise MiramError(
            f"the crop store was cut by version {version} of the cropping, this miram has version "
            f"{CROPPING_VERSION}: run rois, pretrain and probe again before promote"
        )
    return CropConfig.from_stored({**parameters, "backgrounds_per_image": patches})


def check_origin(
    encoder: EncoderCheckpoint,
    store: CropStore,
    features: pd.DataFrame,
    metrics: dict[str, Any],
    config: FeatureConfig,
) -> None:
    """Check that stored features and metrics are those of this encoder and of these crops.

    Both say what they came from. Else a probe fitted on an older encoder's features, or its
    metrics, would be registered with a newer one.

    Raises:
        MiramError: They are not.
    """
    lesions = features["lesion_id"].drop_duplicates()
    expected = feature_origin(encoder, store, lesions, config)
    found = {"features": features.attrs.get(ORIGIN), "metrics": metrics.get("features")}
    for what, origin in found.items():
        if origin != expected:
            names = [name for name in expected if (origin or {}).get(name) != expected[name]]
            raise MiramError(
                f"the stored {what} are of another state of {', '.join(names)}: run `kedro run "
                "--pipeline probe` for this method again, or name the encoder that was probed "
                "with --load-versions candidate_encoder:..."
            )


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
    the reported metrics are those of the procedure, each fold evaluated without its patients.
    `seed` is that of the training whose features are read.

    Raises:
        MiramError: The lesions at hand cannot answer the task, or there is an encoder per fold.
    """
    targets = targets_of(lesions, splits, config.task(task), config.without_callback)
    if not targets.supported:
        raise MiramError(f"no probe can be fitted for task {task}: {targets.skipped[-1].reason}")
    (by_fold,) = features_by_seed(features, splits["lesion_id"], (seed,)).values()
    if set(by_fold) != {WHOLE}:
        raise MiramError(
            "a method with one encoder per fold has none that could be served: train it with "
            "training.hold_out_folds=false, or where it learns labels with "
            "splits.strategy=official, for a single encoder"
        )
    learned = np.isin(targets.rows, _training_rows(splits))
    rows, labels = targets.rows[learned], targets.labels[learned]
    patients = splits["patient_id"].to_numpy(dtype=object)[rows]
    fitted = _fit(by_fold[WHOLE][rows], labels, patients, config.linear_probe)
    # The temperature goes into the coefficients: the same ranking.
    calibrated = replace(
        fitted,
        coefficients=fitted.coefficients / fitted.temperature,
        intercepts=fitted.intercepts / fitted.temperature,
    )
    return ServedProbe(task, targets.classes, calibrated)


def _training_rows(splits: pd.DataFrame) -> npt.NDArray[np.intp]:
    pairs = evaluation_pairs(splits)
    return pairs[0][0] if len(pairs) == 1 else np.concatenate([evaluated for _, evaluated in pairs])


def _fit(
    features: npt.NDArray, labels: npt.NDArray, patients: npt.NDArray, config: LinearProbeConfig
) -> LinearClassifier:
    require_finite(features)
    order = ordered_rows(features, patients, np.arange(len(labels)))
    classes = labels.shape[1] if labels.ndim == 2 else int(labels.max()) + 1
    # Sums depend on the number of threads.
    with threadpool_limits(1, user_api="blas"):
        return fit_classifier(
            TrainingLesions(features[order], labels[order], patients[order], classes), config
        )
