"""A masked autoencoder as one would write it in an afternoon: what our training is compared with.

He et al., "Masked Autoencoders Are Scalable Vision Learners", CVPR 2022, arXiv 2111.06377, with
attention by its formula. No resume, no records, no guard against what is not finite.
"""

from collections.abc import Iterator

import torch
from torch import Tensor, nn


class Block(nn.Module):
    """Attention and an MLP, each behind a norm."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.qkv, self.proj = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.mlp = nn.Sequential(nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, dim))

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, D) -> (B, N, D)."""
        batch, tokens, dim = x.shape
        qkv = self.qkv(self.norm1(x)).reshape(batch, tokens, 3, self.heads, -1)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        weights = (q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5).softmax(dim=-1)
        x = x + self.proj((weights @ v).transpose(1, 2).reshape(batch, tokens, dim))
        return x + self.mlp(self.norm2(x))


class TextbookMAE(nn.Module):
    """Encoder on the visible patches, decoder on all, loss on standardized hidden patches."""

    def __init__(
        self,
        image: int,
        patch: int,
        encoder: tuple[int, int, int],  # width, depth, heads
        decoder: tuple[int, int, int],
        hidden: float,
    ) -> None:
        super().__init__()
        self.patch, self.count = patch, (image // patch) ** 2
        self.visible = self.count - round(hidden * self.count)
        width, narrow = encoder[0], decoder[0]
        self.embed = nn.Linear(patch**2, width)
        self.positions = nn.Parameter(0.02 * torch.randn(1, self.count, width))
        self.cls = nn.Parameter(0.02 * torch.randn(1, 1, width))
        self.encoder = nn.Sequential(*(Block(width, encoder[2]) for _ in range(encoder[1])))
        self.norm, self.narrow = nn.LayerNorm(width), nn.Linear(width, narrow)
        self.mask = nn.Parameter(torch.zeros(1, 1, narrow))
        self.places = nn.Parameter(0.02 * torch.randn(1, self.count + 1, narrow))
        self.decoder = nn.Sequential(*(Block(narrow, decoder[2]) for _ in range(decoder[1])))
        self.head = nn.Sequential(nn.LayerNorm(narrow), nn.Linear(narrow, patch**2))

    def forward(self, images: Tensor) -> Tensor:
        """Loss of images (B, 1, S, S)."""
        patches = nn.functional.unfold(images, self.patch, stride=self.patch).transpose(1, 2)
        order = torch.rand(len(images), self.count).argsort(dim=1)
        keep, restore = order[:, : self.visible, None], order.argsort(dim=1)[..., None]
        x = self.embed(patches) + self.positions
        x = x.gather(1, keep.expand(-1, -1, x.shape[-1]))
        x = torch.cat([self.cls.expand(len(x), -1, -1), x], dim=1)
        x = self.narrow(self.norm(self.encoder(x)))
        masks = self.mask.expand(len(x), self.count - self.visible, -1)
        grid = torch.cat([x[:, 1:], masks], dim=1).gather(1, restore.expand(-1, -1, x.shape[-1]))
        x = self.head(self.decoder(torch.cat([x[:, :1], grid], dim=1) + self.places))[:, 1:]
        target = (patches - patches.mean(-1, keepdim=True)) / patches.std(-1, keepdim=True)
        lost = (restore[..., 0] >= self.visible).float()
        return ((x - target).square().mean(-1) * lost).sum() / lost.sum()


def train(model: nn.Module, batches: Iterator[Tensor]) -> None:
    """Take a step on each batch of images."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.05)
    for images in batches:
        optimizer.zero_grad()
        loss = model(images)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
