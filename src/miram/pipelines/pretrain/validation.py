"""Validation of an encoder while it trains: rank of its features, AUC of a probe, reconstructions.

It changes neither weights nor random numbers, and labels stay here: the training sees none.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from miram.mammography.crops.store import CropStore
from miram.mammography.splits import validation_crops

if TYPE_CHECKING:
    from torch import nn

    from miram.evaluation.config import AssessmentConfig
    from miram.models.methods.masked_autoencoder import MaskedAutoencoder
    from miram.training.logging.telemetry import Validation

_MOST = 1024  # crops encoded for the effective rank
_BATCH = 64
_EXAMPLES = 4


@dataclass(frozen=True)
class EncoderValidation:
    """Effective rank, AUC of a probe, and reconstructions of a few crops of validation patients.

    Only the labeled lesions of training patients are encoded besides, since the probe has to be
    fitted. Without validation patients, as under cross-validation, there is no probe, and rank
    and reconstructions are those of crops that are trained on. Test patients are never encoded.
    """

    store: CropStore
    rows: NDArray[np.int64]  # positions of the crops that are trained on
    image_size: int  # of the images the method takes, in pixels
    splits: pd.DataFrame
    lesions: pd.DataFrame
    evaluation: "AssessmentConfig"  # its first task is probed

    def __call__(self, model: "nn.Module") -> "Validation":
        """Validate a model in evaluation mode."""
        from miram.evaluation.features.rank_me import rank_me
        from miram.models.methods.masked_autoencoder import MaskedAutoencoder
        from miram.training.logging.telemetry import Validation

        rows = validation_crops(self.store.manifest, self.splits)
        rows = rows if len(rows) else self.rows
        features = self._encode(model, rows[:: -(-len(rows) // _MOST)])
        pictures = {}
        if isinstance(model, MaskedAutoencoder):
            pictures["reconstructions"] = self._picture(model, rows)
        return Validation({"rankme": rank_me(features), **self._probe(model)}, pictures)

    def _encode(self, model: "nn.Module", rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Features of crops, (n, D)."""
        import torch

        from miram.evaluation.features.pooling import encode_images
        from miram.models.images import plain_views

        pixels: Any = model.pixels
        encoder: Any = model.encoder
        size = encoder.patch_embed.img_size[0]
        device = next(encoder.parameters()).device
        found = []
        for start in range(0, len(rows), _BATCH):
            crops = torch.from_numpy(self.store.crops[rows[start : start + _BATCH]]).to(device)
            [encoded] = encode_images(encoder, plain_views(crops, size, pixels))
            found.append(encoded.pooled.float().cpu())
        return torch.cat(found).numpy()

    def _probe(self, model: "nn.Module") -> dict[str, float]:
        """AUC on validation lesions; empty where it is not defined."""
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        from miram.evaluation.statistics.bootstrap import cluster_bootstrap
        from miram.evaluation.tasks.targets import targets_of

        task, without_callback = self.evaluation.all_tasks()[0], self.evaluation.without_callback
        targets = targets_of(self.lesions, self.splits, task, without_callback)
        split = self.splits["split"].to_numpy()[targets.rows]
        used = np.isin(split, ["train", "val"])
        rows, split, labels = targets.rows[used], split[used], targets.labels[used]
        train, validation = split == "train", split == "val"
        if labels.ndim > 1 or any(len(set(labels[part])) < 2 for part in (train, validation)):
            return {}
        features = self._encode(model, self.store.rows(self.splits["lesion_id"].iloc[rows]))
        classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
        classifier.fit(features[train], labels[train])
        scores = classifier.predict_proba(features[validation])
        patients = self.splits["patient_id"].to_numpy()[rows][validation]
        scores = scores[:, 1] if scores.shape[1] == 2 else scores
        name = "auc" if scores.ndim == 1 else "auc_macro"
        auc = cluster_bootstrap(
            labels[validation], scores, patients, [name], draws=200, seed=self.evaluation.seed
        )[name]
        return {
            "validation_auc": auc.estimate,
            "validation_auc.lower": auc.lower,
            "validation_auc.upper": auc.upper,
            "validation_lesions": float(auc.lesions),
            "validation_patients": float(auc.patients),
        }

    def _picture(self, model: "MaskedAutoencoder", rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        from matplotlib.backends.backend_agg import FigureCanvasAgg

        from miram.reporting.charts.training import reconstruction_sheet
        from miram.training.pretrain import reconstruct_examples, spread

        some = spread(rows, _EXAMPLES)
        arrays = reconstruct_examples(
            model,
            self.store.crops[some],
            self.store.masks[some],
            self.image_size,
            self.evaluation.seed,
        )
        canvas = FigureCanvasAgg(reconstruction_sheet(arrays))
        canvas.draw()
        return np.asarray(canvas.buffer_rgba())[..., :3].copy()
