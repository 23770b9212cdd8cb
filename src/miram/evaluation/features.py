"""Features of a frozen encoder, once for all tasks, in single precision."""

import logging
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from pydantic import Field, field_validator
from torch import Tensor, nn

from miram.configuration import Config
from miram.errors import MiramError
from miram.evaluation.tokens import EncodedImages, encode_images
from miram.models.checkpoints import EncoderCheckpoint
from miram.models.joined_checkpoints import WHOLE, single_encoder, split_folds, split_seeds
from miram.models.masking import patch_coverage
from miram.models.pixels import to_unit
from miram.progress import track

log = logging.getLogger(__name__)

Part = Literal["patches", "lesion", "cls"]
_WORDS = {"both": ("cls", "patches")}


class FeatureConfig(Config):
    """How the tokens of an image become one vector.

    `pooling` names the parts that are put side by side, in YAML as `patches+lesion+cls`:
    `patches`, the mean over all patches; `lesion`, the mean over the patches under the lesion
    mask, weighted by how much of them it covers (all patches where no mask covers anything);
    `cls`, the CLS token. `both` is short for `cls+patches`.

    Of a model that is no plain vision transformer, `patches` is the model's own pooled vector
    of its last layer, and parts that it does not have are left out.
    """

    pooling: tuple[Part, ...] = Field(("patches",), min_length=1)
    layer: int | None = Field(
        None, ge=1, description="block whose tokens are read, from 1; the last if not given"
    )
    symmetries: bool = Field(
        False, description="average over the 8 flips and transpositions, at 8 times the cost"
    )
    batch_size: int = Field(64, ge=1, description="at most; halved where memory does not suffice")

    @field_validator("pooling", mode="before")
    @classmethod
    def _parts(cls, given: Any) -> Any:
        if not isinstance(given, str):
            return given
        words = [word.strip() for word in given.split("+")]
        return tuple(part for word in words for part in _WORDS.get(word, (word,)))

    @field_validator("pooling")
    @classmethod
    def _once(cls, parts: tuple[Part, ...]) -> tuple[Part, ...]:
        if len(set(parts)) != len(parts):
            raise ValueError(f"each part once, got {'+'.join(parts)}")
        return parts


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
    encoder = single_encoder(checkpoint).build().to(device)

    def encode(rows: slice) -> Tensor:
        part = torch.from_numpy(np.array(crops[rows])).to(device)
        coverage = torch.from_numpy(np.array(masks[rows])).to(device)
        return encode_parts(encoder, _views(part, checkpoint), coverage, config).cpu()

    return torch.cat(encode_in_batches(encode, len(crops), config.batch_size)).numpy()


def encode_in_batches(
    encode: Callable[[slice], Tensor], count: int, batch_size: int
) -> list[Tensor]:
    """Encode rows in batches, in smaller ones from where memory no longer suffices.

    Args:
        encode: Takes rows, gives their features.
        count: Number of rows.
        batch_size: Rows at once, at most.

    Returns:
        The features of all rows in order, in pieces.

    Raises:
        MiramError: Memory does not suffice for a single row.
    """
    found, piece = [], batch_size
    starts = range(0, count, batch_size)
    for start in track(starts, "encoded batches", total=len(starts)):
        stop = min(start + batch_size, count)
        while start < stop:
            try:
                found.append(encode(slice(start, min(start + piece, stop))))
                start += piece
            except torch.OutOfMemoryError as error:
                if piece == 1:
                    raise MiramError(
                        "the memory of the device does not suffice to encode one crop: free it, "
                        "or set CUDA_VISIBLE_DEVICES= to use the CPU"
                    ) from error
                piece //= 2
                torch.cuda.empty_cache()
                log.warning("memory does not suffice: encoding %d crops at once", piece)
    return found


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


def _views(crops: Tensor, checkpoint: EncoderCheckpoint) -> Tensor:
    channels, side, _ = checkpoint.input_shape
    mean, deviation = checkpoint.pixels
    images = to_unit(crops)
    if side < images.shape[-1]:
        images = F.interpolate(images, size=(side, side), mode="area")
    elif side > images.shape[-1]:
        images = F.interpolate(images, size=(side, side), mode="bilinear", align_corners=False)
    return ((images - mean) / deviation).expand(-1, channels, -1, -1)


@torch.inference_mode()
def encode_parts(
    encoder: nn.Module, images: Tensor, coverage: Tensor, config: FeatureConfig
) -> Tensor:
    """Encode images and pool their tokens.

    Args:
        encoder: A timm model in evaluation mode.
        images: (B, C, S, S).
        coverage: (B, h, h) uint8.
        config: Pooling.

    Returns:
        (B, D).
    """
    if not config.symmetries:
        return _pool(encode_images(encoder, images, config.layer), coverage, config)
    total = torch.zeros((), device=images.device)
    for turns in range(4):
        for mirrored in (False, True):
            turned = _turn(images, turns, mirrored=mirrored)
            encoded = encode_images(encoder, turned, config.layer)
            total = total + _pool(encoded, _turn(coverage, turns, mirrored=mirrored), config)
    return total / 8


def _turn(images: Tensor, turns: int, *, mirrored: bool) -> Tensor:
    images = images.rot90(turns, dims=(-2, -1))
    return images.transpose(-2, -1) if mirrored else images


def _pool(encoded: EncodedImages, coverage: Tensor, config: FeatureConfig) -> Tensor:
    found = [_part(name, encoded, coverage) for name in config.pooling]
    parts = [part for part in found if part is not None]
    return torch.cat(parts or [encoded.pooled], dim=1)


def _part(name: Part, encoded: EncodedImages, coverage: Tensor) -> Tensor | None:
    if name == "patches":
        return encoded.pooled
    if name == "cls" or encoded.grid is None:
        return encoded.cls if name == "cls" else None
    tokens = encoded.grid.flatten(1, 2)  # (B, n, n, D) -> (B, n*n, D)
    weights = patch_coverage(coverage, encoded.grid.shape[1])  # (B, n*n)
    # Without a mask every patch weighs alike.
    weights = torch.where(weights.sum(dim=1, keepdim=True) > 0, weights, torch.ones_like(weights))
    weights = weights / weights.sum(dim=1, keepdim=True)
    return (weights.unsqueeze(1) @ tokens).squeeze(1)  # (B, 1, n*n) @ (B, n*n, D) -> (B, D)
