"""What is looked at while an encoder trains: its features, and what it reconstructs.

The looks touch neither weights nor random numbers, and labels stay here: training sees none.
Test patients are not looked at.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from miram.mammography.crops.store import CropStore

if TYPE_CHECKING:
    from torch import nn

    from miram.evaluation.config import AssessmentConfig
    from miram.models.masked_autoencoder import MaskedAutoencoder
    from miram.training.logging.telemetry import Looks

_MOST = 1024  # crops encoded for the effective rank
_PORTION = 64
_EXAMPLES = 4


@dataclass(frozen=True)
class EncoderWatch:
    """Gives effective rank, validation AUC of a probe, and reconstructions of a few crops.

    The probe learns from training patients and is judged on validation patients; without
    validation patients, as under cross-validation, it is left out.

    Attributes:
        store: The crop store.
        rows: Positions of the crops that are trained on.
        side: Side of the images the method takes, in pixels.
        splits: Which lesion is on which side.
        lesions: The lesion table.
        evaluation: Its first task is asked.
    """

    store: CropStore
    rows: NDArray[np.int64]
    side: int
    splits: pd.DataFrame
    lesions: pd.DataFrame
    evaluation: "AssessmentConfig"

    def __call__(self, model: "nn.Module") -> "Looks":
        """Look at a model in evaluation mode."""
        from miram.evaluation.features.rank_me import rank_me
        from miram.models.masked_autoencoder import MaskedAutoencoder
        from miram.training.logging.telemetry import Looks

        some = self.rows[:: -(-len(self.rows) // _MOST)]
        figures = {"rankme": rank_me(self._encode(model, some)), **self._probe(model)}
        pictures = {}
        if isinstance(model, MaskedAutoencoder):
            pictures["reconstructions"] = self._picture(model)
        return Looks(figures, pictures)

    def _encode(self, model: "nn.Module", rows: NDArray[np.int64]) -> NDArray[np.float32]:
        import torch

        from miram.evaluation.features.tokens import encode_images
        from miram.models.pixels import plain_views

        encoder: Any = model.encoder
        side = encoder.patch_embed.img_size[0]
        device = next(encoder.parameters()).device
        found = []
        for start in range(0, len(rows), _PORTION):
            crops = torch.from_numpy(self.store.crops[rows[start : start + _PORTION]]).to(device)
            found.append(encode_images(encoder, plain_views(crops, side)).pooled.float().cpu())
        return torch.cat(found).numpy()

    def _probe(self, model: "nn.Module") -> dict[str, float]:
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        from miram.evaluation.statistics.bootstrap import cluster_bootstrap
        from miram.evaluation.tasks.targets import targets_of

        task, without_callback = self.evaluation.all_tasks()[0], self.evaluation.without_callback
        targets = targets_of(self.lesions, self.splits, task, without_callback)
        split = self.splits["split"].to_numpy()[targets.rows]
        train, judged = split == "train", split == "val"
        labels = targets.labels
        if labels.ndim > 1 or any(len(set(labels[part])) < 2 for part in (train, judged)):
            return {}
        features = self._encode(model, self.store.rows(self.splits["lesion_id"].iloc[targets.rows]))
        classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
        scores = classifier.fit(features[train], labels[train]).predict_proba(features[judged])
        patients = self.splits["patient_id"].to_numpy()[targets.rows][judged]
        scores = scores[:, 1] if scores.shape[1] == 2 else scores
        name = "auc" if scores.ndim == 1 else "auc_macro"
        auc = cluster_bootstrap(
            labels[judged], scores, patients, [name], draws=200, seed=self.evaluation.seed
        )[name]
        return {
            "validation_auc": auc.estimate,
            "validation_auc.lower": auc.lower,
            "validation_auc.upper": auc.upper,
            "validation_lesions": float(auc.lesions),
            "validation_patients": float(auc.patients),
        }

    def _picture(self, model: "MaskedAutoencoder") -> NDArray[np.uint8]:
        from matplotlib.backends.backend_agg import FigureCanvasAgg

        from miram.reporting.charts.training import reconstruction_sheet
        from miram.training.pretrain import reconstruct_examples

        some = self.rows[:: max(1, len(self.rows) // _EXAMPLES)][:_EXAMPLES]
        arrays = reconstruct_examples(
            model, self.store.crops[some], self.store.masks[some], self.side, self.evaluation.seed
        )
        canvas = FigureCanvasAgg(reconstruction_sheet(arrays))
        canvas.draw()
        return np.asarray(canvas.buffer_rgba())[..., :3].copy()
