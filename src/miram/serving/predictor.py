"""All that answers for a new mammogram: encoder, probe, and how crops are cut and read."""

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from miram.errors import MiramError
from miram.evaluation.features.extract import ORIGIN, encoder_digest, plan_features
from miram.evaluation.features.pooling import FeatureConfig
from miram.mammography.crops.cut import CROPPING_VERSION, MASK_STEP, CropConfig
from miram.mammography.crops.store import CropStore
from miram.mammography.sources.dicom_folder import WantedImages
from miram.models.checkpoints.files import EncoderCheckpoint
from miram.models.export.shared import atomic_folder
from miram.serving.probe import ServedProbe
from miram.serving.regions import require_cropping

RESEARCH_USE_ONLY = "Research use only. Not a medical device."
ENCODER, PROBE, SETTINGS = "encoder.safetensors", "probe.npz", "settings.json"


@dataclass(frozen=True)
class Predictor:
    """An encoder with all that its features and probabilities depend on.

    Attributes:
        encoder: The encoder.
        features: How its tokens become one vector.
        crops: How crops are cut; its `backgrounds_per_image` is the number of patches that
            stand for a mammogram in which nothing is marked.
        probe: The probe fitted on its features; None for features alone.
        about: What else a user should know, such as `method` and `data_digest`.
        wanted: Which DICOM files it answers for; others are refused.
        origin: Where it was loaded from, such as `models:/miram-mae/3`; no part of it.
    """

    encoder: EncoderCheckpoint
    features: FeatureConfig
    crops: CropConfig
    probe: ServedProbe | None = None
    about: dict[str, Any] = field(default_factory=dict)
    wanted: WantedImages = field(default_factory=WantedImages)
    origin: str = ""

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
            "reads_masks": "lesion" in self.features.pooling,
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
            (temporary / SETTINGS).write_text(json.dumps(self.settings(), indent=2) + "\n")

    @classmethod
    def load(cls, folder: str | Path) -> "Predictor":
        """Read what `save` wrote.

        Raises:
            MiramError: There is no predictor, it is damaged, or its crops were cut in a way
                that this version of miram does not cut.
        """
        folder = Path(folder)
        try:
            settings = json.loads((folder / SETTINGS).read_text())
            version, about = settings["cropping_version"], settings["about"]
            features, crops = settings["features"], settings["crops"]
        except (OSError, ValueError, KeyError) as error:
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

    Args:
        store: The crop store.
        patches: Patches that stand for a mammogram in which nothing is marked.

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

    Else a probe fitted on an older encoder's features, or its metrics, would be registered with
    a newer one.

    Args:
        encoder: The encoder.
        store: The crop store.
        features: Table of features, which says what it came from.
        metrics: Metrics, which say the same.
        config: How tokens become one vector.

    Raises:
        MiramError: They are not.
    """
    lesions = features["lesion_id"].drop_duplicates()
    expected = plan_features(encoder, store, lesions, config).origin
    found = {"features": features.attrs.get(ORIGIN), "metrics": metrics.get("features")}
    for what, origin in found.items():
        if origin != expected:
            names = [name for name in expected if (origin or {}).get(name) != expected[name]]
            raise MiramError(
                f"the stored {what} are of another state of {', '.join(names)}: run `kedro run "
                "--pipeline probe` for this method again, or name the encoder that was probed "
                "with --load-versions candidate_encoder:..."
            )
