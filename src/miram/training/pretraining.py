"""One method, one encoder: build, train, and show what it learned."""

import logging

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from miram.mammography.crop_store import CropStore
from miram.models.checkpoints import EncoderCheckpoint
from miram.models.encoder import EncoderConfig
from miram.models.masked_autoencoder import MaskedAutoencoder, MaskedAutoencoderConfig
from miram.models.methods import RandomConfig
from miram.models.pixels import plain_views, to_grey
from miram.provenance import git_commit, versions
from miram.training.loop import TrainingConfig, train

log = logging.getLogger(__name__)

EXAMPLES = 6  # crops whose reconstruction is shown
HISTORY = ("step", "epoch", "loss", "lr", "gradient_norm", "images_per_second")
LICENSE_NOTE = "weights derived from the training data named in data_digest; its terms apply"


def pretrain(
    store: CropStore,
    rows: NDArray[np.int64],
    encoder: EncoderConfig,
    method: RandomConfig | MaskedAutoencoderConfig,
    training: TrainingConfig,
) -> tuple[EncoderCheckpoint, pd.DataFrame, dict[str, NDArray]]:
    """Train one encoder without labels.

    Args:
        store: The crop store.
        rows: Positions of the crops that may be seen.
        encoder: The encoder.
        method: How it is trained.
        training: The budget.

    Returns:
        The encoder; the history with at least the columns `HISTORY`; and for methods with
        decoders arrays `scale<s>_target`, `_masked`, `_prediction` (6, s*S, s*S) uint8.
    """
    metadata = {
        "timm": encoder.timm_arguments,
        "method": method.model_dump(mode="json"),
        "training": training.model_dump(mode="json"),
        "data_digest": store.digest,
        "git_commit": git_commit(),
        "versions": versions(),
        "license": LICENSE_NOTE,
    }
    if isinstance(method, RandomConfig):
        fresh = encoder.build(training.seed)
        return EncoderCheckpoint.of(fresh, metadata), pd.DataFrame(columns=list(HISTORY)), {}
    model = method.build(encoder, training.seed)
    log.info("training on %d crops for %d epochs", len(rows), training.epochs)
    side = method.crop_side(encoder)
    history = train(model, store.crops[rows], side, model.patches, training)
    examples = store.crops[rows[:: max(1, len(rows) // EXAMPLES)][:EXAMPLES]]
    shown = reconstruct_examples(model, examples, side, training.seed)
    return EncoderCheckpoint.of(model.encoder, metadata), history, shown


def reconstruct_examples(
    model: MaskedAutoencoder, crops: NDArray[np.uint16], side: int, seed: int
) -> dict[str, NDArray[np.uint8]]:
    """Reconstruct crops at every scale, in true grey levels.

    Args:
        model: The trained model.
        crops: (n, H, H) uint16.
        side: Side of the images the model takes.
        seed: Of the masks.

    Returns:
        `scale<s>_target`, `scale<s>_masked`, `scale<s>_prediction`: (n, s*S, s*S) uint8.
    """
    device = next(model.parameters()).device
    images = plain_views(torch.from_numpy(np.array(crops)), side).to(device)
    generator = torch.Generator().manual_seed(seed)
    noise = torch.rand(len(images), model.patches, generator=generator).to(device)
    shown = {}
    for item in model.eval().reconstruct(images, noise):
        for name in ("target", "masked", "prediction"):
            grey = to_grey(getattr(item, name)).squeeze(1)
            shown[f"scale{item.scale}_{name}"] = (grey * 255).round().byte().cpu().numpy()
    return shown
