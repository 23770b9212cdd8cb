"""MoCo-v3 for vision transformers (Chen, Xie and He, ICCV 2021): contrast of two views.

A query encoder sees one view of an image, a slowly following copy of it the other. The two
must find each other among the views of all other images of the batch. There is no queue: the
batch is the dictionary, so its size matters.

What is evaluated is the query encoder, as in the official code. Its patch projection is never
trained: that is the paper's cure for the instability of vision transformers.
"""

import copy
import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, NamedTuple

import torch
import torch.distributed as dist
import torch.nn.functional as F
from pydantic import Field, ValidationInfo, field_validator
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from miram.errors import MiramError
from miram.models.encoder import EncoderConfig, Pooling, pool_tokens
from miram.models.methods.config import Overrides, TrainedMethodConfig
from miram.models.processes import processes

# The official run of ViT: AdamW with PyTorch's betas. Of its color jitter only grey is left;
# both views are blurred with the mean of its two probabilities, 1.0 and 0.1.
OPTIMIZER: Overrides = {"weight_decay": 0.1, "beta2": 0.999}
AUGMENTATION: Overrides = {"brightness": 0.2, "contrast": 0.4, "blur": 0.55}


class MocoV3Config(TrainedMethodConfig):
    """Heads, momentum, temperature, and what differs from the shared training recipe.

    The heads use batch normalization over the samples of a step, in training alone; the
    encoder has none.
    """

    kind: Literal["moco_v3"] = "moco_v3"
    hidden: int = Field(4096, ge=1, description="hidden width of projector and predictor")
    width: int = Field(256, ge=1, description="width of the embedding that is contrasted")
    momentum: float = Field(0.99, ge=0, le=1, description="at the first step; 1 at the last")
    temperature: float = Field(0.2, gt=0, description="divides the similarities")
    pooling: Pooling = Field("cls", description="what the projector reads")
    freeze_patches: bool = Field(True, description="leave the patch projection as it was drawn")
    optimizer: Overrides = Field(OPTIMIZER, description="over training.optimizer")
    augmentation: Overrides = Field(AUGMENTATION, description="over training.augmentation")

    @field_validator("optimizer", "augmentation")
    @classmethod
    def _over_the_papers(cls, given: Overrides, info: ValidationInfo) -> Overrides:
        papers = OPTIMIZER if info.field_name == "optimizer" else AUGMENTATION
        return {**papers, **given}

    def build(self, encoder: EncoderConfig, seed: int) -> "MocoV3":
        """Make the model with fresh weights."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return MocoV3(self, encoder, seed)


@dataclass(frozen=True)
class MocoV3Output:
    """What a forward pass gives.

    Attributes:
        loss: Sum of both directions.
        losses: Metrics to log: `contrast_accuracy`, the share of queries whose own key is the
            nearest; 1 / B is chance, and what a collapsed encoder gets.
        queries: (B, 2, E) unit vectors of both views.
        keys: (B, 2, E) unit vectors of both views, without gradient.
    """

    loss: Tensor
    losses: dict[str, Tensor]
    queries: Tensor
    keys: Tensor


class MocoV3(nn.Module):
    """Query encoder, projector and predictor; key encoder and projector that follow."""

    views = 2
    needs_whole_batch = True

    def __init__(self, config: MocoV3Config, encoder: EncoderConfig, seed: int) -> None:
        super().__init__()
        self.config = config
        self.pixels = encoder.standardization
        self.encoder = encoder.build(seed)
        if config.freeze_patches:
            self.encoder.patch_embed.requires_grad_(False)
        hidden, width = config.hidden, config.width
        self.projector = perceptron(self.encoder.embed_dim, hidden, hidden, width)
        self.predictor = perceptron(width, hidden, width)
        self.key_encoder = copy.deepcopy(self.encoder).requires_grad_(False)
        self.key_projector = copy.deepcopy(self.projector).requires_grad_(False)

    def on_step(self, step: int, total: int) -> None:
        """Let the key encoder follow the query encoder, before step `step` of `total`."""
        momentum = momentum_at(step, total, self.config.momentum)
        followers = [*self.key_encoder.parameters(), *self.key_projector.parameters()]
        leaders = [*self.encoder.parameters(), *self.projector.parameters()]
        get_ema_multi_avg_fn(momentum)(followers, leaders, None)

    def forward(self, images: Tensor) -> MocoV3Output:
        """Contrast two views of each image, both ways.

        Args:
            images: (B, 2, C, S, S) two views of each of at least two images.

        Raises:
            MiramError: There is nothing to contrast with.
        """
        if len(images) < 2:
            raise MiramError("moco_v3 contrasts samples of a batch: raise training.batch_size")
        views = images.transpose(0, 1).flatten(0, 1)  # -> (2 B, C, S, S), view after view
        queries = [self.predictor(query) for query in self._project(views, key=False)]
        with torch.no_grad():
            keys = self._project(views, key=True)
        # Unit vectors and losses are in float32 under autocast.
        queries = [F.normalize(query.float(), dim=1) for query in queries]
        keys = [F.normalize(key.float(), dim=1) for key in keys]
        there, back = (
            contrast(queries[a], keys[b], self.config.temperature) for a, b in ((0, 1), (1, 0))
        )
        metrics = {"contrast_accuracy": (there.accuracy + back.accuracy) / 2}
        loss = there.loss + back.loss
        return MocoV3Output(loss, metrics, torch.stack(queries, 1), torch.stack(keys, 1))

    def _project(self, views: Tensor, *, key: bool) -> list[Tensor]:
        """Encode both views (2 B, C, S, S) at once, and project each by itself: (B, E) twice."""
        encoder = self.key_encoder if key else self.encoder
        projector = self.key_projector if key else self.projector
        tokens = encoder.forward_features(views)  # -> (2 B, 1 + N, D)
        features = pool_tokens(encoder, tokens, self.config.pooling)
        # Batch normalization must not mix query and key statistics.
        return [projector(view) for view in features.chunk(2)]


def perceptron(*widths: int) -> nn.Sequential:
    """Linear maps with batch normalization and ReLU; the last one has neither ReLU nor affine."""

    def layers() -> Iterator[nn.Module]:
        for depth, (before, after) in enumerate(pairwise(widths)):
            last = depth == len(widths) - 2
            yield nn.Linear(before, after, bias=False)
            yield nn.BatchNorm1d(after, affine=not last)
            if not last:
                yield nn.ReLU(inplace=True)

    return nn.Sequential(*layers())


def momentum_at(step: int, total: int, first: float) -> float:
    """Momentum of the key encoder at a step from 0: from `first` to 1 by half a cosine."""
    return 1 - (1 - first) * 0.5 * (1 + math.cos(math.pi * step / max(1, total)))


class Contrast(NamedTuple):
    """One direction: () InfoNCE times 2τ, and () share of queries whose own key is the nearest."""

    loss: Tensor
    accuracy: Tensor


def contrast(queries: Tensor, keys: Tensor, temperature: float) -> Contrast:
    """Let each query find its key among the keys of the global batch, both (B, E) unit vectors.

    The keys of all processes that share a step are candidates; the mean of their losses is then
    the loss of the global batch.
    """
    everywhere, first = gather(keys)
    logits = queries @ everywhere.T / temperature  # (B, E) @ (E, B * processes)
    own = first + torch.arange(len(queries), device=queries.device)
    loss = 2 * temperature * F.cross_entropy(logits, own)
    return Contrast(loss, (logits.detach().argmax(dim=1) == own).float().mean())


def gather(keys: Tensor) -> tuple[Tensor, int]:
    """Keys (B, E) of all processes: (B * processes, E), and the row at which our own begin."""
    if processes() == 1:
        return keys, 0
    parts = [torch.empty_like(keys) for _ in range(processes())]
    dist.all_gather(parts, keys.contiguous())
    return torch.cat(parts), dist.get_rank() * len(keys)
