"""An encoder trained from scratch on labels: the reference for pretraining without labels.

One linear map on the pooled tokens. Classes weigh alike, whatever their number of samples.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn

from miram.models.encoder import EncoderConfig, Pooling, pool_tokens
from miram.models.methods.backbone import TimmBackboneConfig
from miram.models.methods.config import TrainedMethodConfig


class SupervisedConfig(TrainedMethodConfig):
    """Which labels are learned, and what differs from the shared training recipe."""

    needs_labels: ClassVar[bool] = True

    kind: Literal["supervised"] = "supervised"
    task: str = Field("pathology", description="one of the probe's tasks")
    pooling: Pooling = "patches"
    backbone: TimmBackboneConfig | None = Field(
        None, description="any timm model in place of the shared encoder, pooled in its own way"
    )
    epochs: int | None = Field(
        None, ge=1, description="instead of training.epochs: labeled crops are fewer than all"
    )

    def crop_size(self, encoder: EncoderConfig) -> int:
        """Height and width of the crops to train on, in pixels."""
        return self.backbone.input_size if self.backbone else encoder.image_size

    def without_files(self) -> "SupervisedConfig":
        """The same model with fresh weights."""
        own = self.backbone
        return self.model_copy(update={"backbone": own.without_files() if own else None})

    def encoder_facts(self, encoder: EncoderConfig) -> dict[str, Any]:
        """What a checkpoint's header says of the encoder: `timm`, `image_size`, pixels."""
        own = self.backbone
        return own.encoder_facts(encoder) if own else super().encoder_facts(encoder)

    def build(self, encoder: EncoderConfig, seed: int) -> "Supervised":
        """Make the model for two classes; `build_classifier` makes that for given labels."""
        return self.build_classifier(encoder, seed, torch.ones(2), several=False)

    def build_classifier(
        self, encoder: EncoderConfig, seed: int, weights: Tensor, *, several: bool
    ) -> "Supervised":
        """Make the model with fresh weights.

        `weights` (K,) are those of the classes, see `class_weights`; `several` says whether a
        sample may have several labels.
        """
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return Supervised(self, encoder, seed, weights, several=several)


@dataclass(frozen=True)
class SupervisedOutput:
    """What a forward pass gives.

    Attributes:
        loss: Weighted cross-entropy.
        losses: Metrics to log: `accuracy`.
        logits: (B, K).
    """

    loss: Tensor
    losses: dict[str, Tensor]
    logits: Tensor


class Supervised(nn.Module):
    """An encoder and a linear classifier; arguments as of `SupervisedConfig.build_classifier`."""

    needs_labels = True
    weights: Tensor

    def __init__(
        self,
        config: SupervisedConfig,
        encoder: EncoderConfig,
        seed: int,
        weights: Tensor,
        *,
        several: bool,
    ) -> None:
        super().__init__()
        self.config, self.several = config, several
        self.encoder: Any = encoder.build(seed)
        self.pixels = encoder.standardization
        if config.backbone:
            self.pixels = config.backbone.pixels or self.pixels
            self.encoder = config.backbone.build_encoder(seed)
        self.head: nn.Module = nn.Linear(self.encoder.head_hidden_size, len(weights))
        self.register_buffer("weights", weights)

    def forward(self, images: Tensor, labels: Tensor) -> SupervisedOutput:
        """Classify images (B, C, S, S); labels (B,) from 0, or (B, K) of 0 and 1 for several."""
        logits = self.logits(images).float()  # the loss is in float32 under autocast
        if self.several:
            hot = labels.float()
            loss = F.binary_cross_entropy_with_logits(logits, hot, pos_weight=self.weights)
            hits = (logits.detach() > 0) == (labels > 0)
        else:
            # Not divided by the weights at hand, which would cancel in a micro-batch of one class;
            # over all samples they average 1.
            loss = F.cross_entropy(logits, labels, self.weights, reduction="sum") / len(labels)
            hits = logits.detach().argmax(dim=1) == labels
        return SupervisedOutput(loss, {"accuracy": hits.float().mean()}, logits)

    def logits(self, images: Tensor) -> Tensor:
        """Classify images: (B, C, S, S) -> (B, K)."""
        if self.config.backbone:
            return self.head(self.encoder(images))
        tokens = self.encoder.forward_features(images)  # (B, 1 + N, D)
        return self.head(pool_tokens(self.encoder, tokens, self.config.pooling))


def class_weights(labels: NDArray[np.int64], classes: int) -> Tensor:
    """Weights that make up for unequal numbers of samples.

    Args:
        labels: (n,) classes from 0, or (n, K) of 0 and 1.
        classes: K.

    Returns:
        (K,) float32. For classes n / (K n_k); for labels the absent over the present ones. A
        class without samples counts as having one.
    """
    if labels.ndim == 2:
        present = labels.sum(axis=0)
        weights = (len(labels) - present) / np.maximum(present, 1)
    else:
        present = np.bincount(labels, minlength=classes)
        weights = len(labels) / (classes * np.maximum(present, 1))
    return torch.from_numpy(weights).float()
