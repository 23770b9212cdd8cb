"""The optimizer and its learning rate."""

import math
from collections.abc import Iterable

import torch
from pydantic import Field
from torch import nn

from miram.configuration import Config


class OptimizerConfig(Config):
    """AdamW with linear warm-up and half a cosine, per step (He et al., 2022)."""

    base_lr: float = Field(1.5e-4, gt=0, description="per 256 samples of the effective batch")
    weight_decay: float = Field(0.05, ge=0)
    beta1: float = Field(0.9, ge=0, lt=1)
    beta2: float = Field(0.95, ge=0, lt=1)
    warmup_epochs: float = Field(40.0, ge=0)
    clip_norm: float | None = Field(None, gt=0, description="greatest norm of the gradient")


def make_optimizer(
    model: nn.Module, config: OptimizerConfig, effective_batch: int
) -> torch.optim.AdamW:
    """AdamW; biases, norms, tokens and other vectors are not decayed.

    Args:
        model: What to train.
        config: Rates.
        effective_batch: Samples per step over all devices and accumulated micro-batches.
    """
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": _with_rank(trained, matrices=True), "weight_decay": config.weight_decay},
        {"params": _with_rank(trained, matrices=False), "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(
        groups,
        lr=config.base_lr * effective_batch / 256,
        betas=(config.beta1, config.beta2),
        fused=True,
    )


def _with_rank(parameters: Iterable[nn.Parameter], *, matrices: bool) -> list[nn.Parameter]:
    # Tokens are (1, 1, D): vectors in all but shape.
    return [p for p in parameters if (p.squeeze().ndim > 1) == matrices]


def learning_rate_factor(step: int, warmup_steps: float, total_steps: int) -> float:
    """Share of the peak learning rate at a step: linear warm-up, then half a cosine to zero.

    Args:
        step: From 0.
        warmup_steps: Steps of the warm-up.
        total_steps: Steps of the whole run.
    """
    if step < warmup_steps:
        return (step + 1) / (warmup_steps + 1)
    progress = (step - warmup_steps) / max(1.0, total_steps - warmup_steps)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
