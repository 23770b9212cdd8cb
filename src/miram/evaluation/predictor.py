"""All that answers for a new mammogram: encoder, probe, and how crops are cut and read."""

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from miram.errors import MiramError
from miram.evaluation.feature_plan import encoder_digest
from miram.evaluation.pooling import FeatureConfig
from miram.evaluation.regions import require_cropping
from miram.evaluation.served_probe import ServedProbe
from miram.mammography.cropping import CROPPING_VERSION, MASK_STEP, CropConfig
from miram.mammography.image_kind import WantedImages
from miram.models.checkpoints import EncoderCheckpoint
from miram.models.export_checks import atomic_folder

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
        return self.crops.side // MASK_STEP

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
            "crops": self.crops.model_dump(mode="json"),
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
            crops=CropConfig.model_validate(crops),
            probe=ServedProbe.load(probe) if probe.is_file() else None,
            about=about,
            wanted=WantedImages.model_validate(settings.get("wanted", {})),
        )
