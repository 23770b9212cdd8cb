"""Features of a frozen encoder, once for all tasks."""

from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor

from miram.configuration import Config
from miram.models.checkpoints import EncoderCheckpoint
from miram.models.pixels import plain_views
from miram.progress import track


class FeatureConfig(Config):
    """How tokens become one vector: the mean over all patches, the CLS token, or both."""

    pooling: Literal["patches", "cls", "both"] = "patches"
    batch_size: int = Field(64, ge=1)


@torch.inference_mode()
def extract_features(
    checkpoint: EncoderCheckpoint, crops: NDArray[np.uint16], config: FeatureConfig
) -> NDArray[np.float32]:
    """Encode crops without augmentation.

    Args:
        checkpoint: The encoder.
        crops: (n, H, H) uint16.
        config: Pooling.

    Returns:
        (n, D) float32, or (n, 2 * D) for pooling `both`.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    encoder = checkpoint.build().to(device)
    side = encoder.patch_embed.img_size[0]
    starts = range(0, len(crops), config.batch_size)
    features = []
    for start in track(starts, "encoded batches", total=len(starts)):
        part = np.array(crops[start : start + config.batch_size])
        images = plain_views(torch.from_numpy(part).to(device), side)
        features.append(_pool(encoder, encoder.forward_features(images), config).cpu().numpy())
    return np.concatenate(features)


def _pool(encoder: VisionTransformer, tokens: Tensor, config: FeatureConfig) -> Tensor:
    cls, patches = tokens[:, 0], tokens[:, encoder.num_prefix_tokens :].mean(dim=1)
    if config.pooling == "both":
        return torch.cat([cls, patches], dim=1)
    return cls if config.pooling == "cls" else patches
