"""An attention, a decoder and a method of somebody else's package."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from miram.models.attention.base import AttentionConfig, MultiHeadAttention
from miram.models.decoders.base import Decoder, DecoderConfig
from miram.models.methods.config import MethodConfig


class MeanAttention(MultiHeadAttention):
    def attend(self, q, k, v):
        return (q * k).sum(-1, keepdim=True).sigmoid() * v.mean(2, keepdim=True)


class MeanConfig(AttentionConfig):
    module = MeanAttention

    kind: Literal["mean"] = "mean"


class FlatDecoderConfig(DecoderConfig):
    kind: Literal["flat"] = "flat"

    def build(self, sizes):
        return FlatDecoder(self, sizes)


class FlatDecoder(Decoder):
    def decode(self, encoded, chosen):
        return encoded.grid().flatten(1, 2) + self.grid_positions


class MeanPixelConfig(MethodConfig):
    kind: Literal["mean_pixel"] = "mean_pixel"

    def build(self, encoder, seed):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return MeanPixel(encoder.build(seed))


@dataclass
class Output:
    loss: Tensor
    losses: dict[str, Tensor]


class MeanPixel(nn.Module):
    """Predicts the mean grey level of a crop."""

    def __init__(self, encoder):
        super().__init__()
        self.encoder = encoder
        self.head = nn.Linear(encoder.embed_dim, 1)

    def forward(self, images):
        reported = self.head(self.encoder.forward_features(images).mean(dim=1)).squeeze(1)
        return Output((reported - images.mean(dim=(1, 2, 3))).square().mean(), {})
