"""Features that can be computed, under a name that tells whether that is needed at all.

Encoding costs minutes, a probe seconds. A table of features therefore carries what it came from;
as long as encoder, crops, lesions and settings are the same, it stays as it is.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq

from miram.evaluation.features.extract import feature_table
from miram.evaluation.features.pooling import FeatureConfig
from miram.evaluation.tasks.pairs import require_lesions
from miram.mammography.crops.store import CropStore
from miram.models.checkpoints.files import EncoderCheckpoint, weights_digest
from miram.models.checkpoints.split_record import SPLITS
from miram.provenance import FEATURE_CODE, code_digest

ORIGIN = "origin"
_READS = (
    "timm",
    "image_size",
    "pixel_mean",
    "pixel_std",
    "folds",
    "seeds",
)  # of an encoder's header


@dataclass(frozen=True)
class FeaturePlan:
    """Features that can be computed.

    Attributes:
        origin: What they depend on: digests of `encoder`, `crops` and `lesions`, and `settings`;
            and `splits`, under which the encoder was trained, if it was trained here.
        compute: Encodes the lesions into a table.
    """

    origin: dict[str, Any]
    compute: Callable[[], pd.DataFrame]

    def table(self) -> pd.DataFrame:
        """The features, with their origin in `attrs`, which a Parquet file keeps."""
        found = self.compute()
        found.attrs[ORIGIN] = self.origin
        return found


def plan_features(
    checkpoint: EncoderCheckpoint, crops: CropStore, lesion_ids: pd.Series, config: FeatureConfig
) -> FeaturePlan:
    """Plan to encode lesions.

    Args:
        checkpoint: The encoder, or the encoders of all seeds and folds.
        crops: The crop store.
        lesion_ids: (n,) names of the lesions.
        config: How tokens become one vector.

    Raises:
        MiramError: There are no lesions.
    """
    require_lesions(lesion_ids)

    def compute() -> pd.DataFrame:
        rows = crops.rows(lesion_ids)
        return feature_table(checkpoint, lesion_ids, crops.crops[rows], crops.masks[rows], config)

    origin = {
        "encoder": encoder_digest(checkpoint),
        "crops": crops.digest,
        "lesions": _digest("\n".join(sorted(map(str, lesion_ids))).encode()),
        # The batch size is a matter of memory, not of the result.
        "settings": config.model_dump(mode="json", exclude={"batch_size"}),
        "code": code_digest(*FEATURE_CODE)[:16],
    }
    if record := checkpoint.metadata.get(SPLITS):
        origin[SPLITS] = record
    return FeaturePlan(origin, compute)


def encoder_digest(checkpoint: EncoderCheckpoint) -> str:
    """Name of an encoder: a hash of its weights and of how it reads pixels."""
    header = {name: checkpoint.metadata.get(name) for name in _READS}
    return weights_digest(checkpoint.state, json.dumps(header, sort_keys=True).encode())


def stored_origin(path: Path) -> dict[str, Any] | None:
    """What the features in a Parquet file came from, None where that cannot be told."""
    try:
        header = pq.read_schema(path).metadata or {}
        found: dict[str, Any] = json.loads(header[b"PANDAS_ATTRS"])[ORIGIN]
    except (OSError, ValueError, KeyError):
        return None
    return found


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]
