"""Features of a frozen encoder, once for all tasks, in single precision."""

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from miram.evaluation.features.crop_encoder import CropEncoder, encode_crops
from miram.evaluation.features.pooling import FeatureConfig
from miram.models.checkpoints.files import EncoderCheckpoint
from miram.models.checkpoints.joined import WHOLE, split_folds, split_seeds


def extract_features(
    checkpoint: EncoderCheckpoint,
    crops: NDArray[np.uint16],
    masks: NDArray[np.uint8],
    config: FeatureConfig,
) -> NDArray[np.float32]:
    """Encode crops without augmentation.

    Args:
        checkpoint: The encoder.
        crops: (n, H, H) uint16.
        masks: (n, h, h) uint8 lesion coverage, 255 for all of a cell.
        config: Pooling.

    Returns:
        (n, D) float32; D is the encoder's width times the number of parts pooled.

    Raises:
        MiramError: The checkpoint holds an encoder per fold, has no such layer, or memory does
            not suffice.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return encode_crops(CropEncoder(checkpoint, config).eval().to(device), crops, masks)


def feature_table(
    checkpoint: EncoderCheckpoint,
    lesion_ids: pd.Series,
    crops: NDArray[np.uint16],
    masks: NDArray[np.uint8],
    config: FeatureConfig,
) -> pd.DataFrame:
    """Encode lesions into a table.

    Args:
        checkpoint: The encoder, or the encoders of all seeds and folds.
        lesion_ids: (n,) names of the lesions.
        crops: (n, H, H) uint16.
        masks: (n, h, h) uint8 lesion coverage.
        config: Pooling.

    Returns:
        `lesion_id`, the `seed` of the training, and the features `f0`, `f1` and so on, one row
        per seed and lesion. With an encoder per fold one row per seed, fold and lesion, with the
        encoder's `fold` as second column.
    """
    tables = []
    for seed, trained in split_seeds(checkpoint).items():
        for fold, encoder in split_folds(trained).items():
            features = extract_features(encoder, crops, masks, config)
            table = pd.DataFrame(features, columns=[f"f{i}" for i in range(features.shape[1])])
            table.insert(0, "lesion_id", lesion_ids.to_numpy())
            if fold != WHOLE:
                table.insert(1, "fold", fold)
            table.insert(1, "seed", seed)
            tables.append(table)
    return pd.concat(tables, ignore_index=True)
