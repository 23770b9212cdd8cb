"""Features of a frozen encoder, once for all tasks, under a name that says what they came from.

Encoding costs minutes, a probe seconds. A table of features therefore carries its origin; as long
as encoder, crops, lesions and settings are the same, it stays as it is.
"""

import hashlib
import json
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from miram.evaluation.features.crop_encoder import CropEncoder, encode_crops
from miram.evaluation.features.pooling import FeatureConfig
from miram.evaluation.tasks.pairs import require_lesions
from miram.mammography.crops.store import CropStore
from miram.models.checkpoints.files import EncoderCheckpoint, weights_digest
from miram.models.checkpoints.joined import WHOLE, split_folds, split_seeds
from miram.models.checkpoints.split_record import SPLITS
from miram.provenance import FEATURE_CODE, code_digest


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
    """Encode lesions into a table, by the encoders of all seeds and folds.

    Arguments as `extract_features`, with (n,) names of the lesions.

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


ORIGIN, TRAINED_ON = "origin", "trained_on"
# Of an encoder's header.
_READS = ("timm", "image_size", "pixels", "pixel_mean", "pixel_std", "folds", "seeds")


def feature_origin(
    checkpoint: EncoderCheckpoint, crops: CropStore, lesion_ids: pd.Series, config: FeatureConfig
) -> dict[str, Any]:
    """What the features of lesions depend on, by the encoders of all seeds and folds.

    Returns:
        Digests of `encoder`, `crops`, `lesions` and `code`, and `settings`; `splits`, under which
        the encoder was trained, if it was trained here; and `trained_on`, the digest of the crops
        it was trained on, if these are others.

    Raises:
        MiramError: There are no lesions.
    """
    require_lesions(lesion_ids)
    names = "\n".join(sorted(map(str, lesion_ids)))
    origin: dict[str, Any] = {
        "encoder": encoder_digest(checkpoint),
        "crops": crops.digest,
        "lesions": hashlib.sha256(names.encode()).hexdigest()[:16],
        # The batch size is a matter of memory, not of the result.
        "settings": config.model_dump(mode="json", exclude={"batch_size"}),
        "code": code_digest(*FEATURE_CODE)[:16],
    }
    if record := checkpoint.metadata.get(SPLITS):
        origin[SPLITS] = record
        trained_on = checkpoint.metadata.get("data_digest")
        if trained_on not in (None, crops.digest):
            origin[TRAINED_ON] = trained_on
    return origin


def encoder_digest(checkpoint: EncoderCheckpoint) -> str:
    """Name of an encoder: a hash of its weights and of how it reads pixels."""
    header = {name: checkpoint.metadata.get(name) for name in _READS}
    return weights_digest(checkpoint.state, json.dumps(header, sort_keys=True).encode())
