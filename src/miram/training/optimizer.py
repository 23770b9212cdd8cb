"""The optimizer and its learning rate."""

import math
from collections.abc import Collection
from typing import Any, Literal

import torch
from pydantic import Field
from timm.optim import param_groups_layer_decay
from torch import nn

from miram.configuration import Config

_BETA1 = 0.9


class OptimizerConfig(Config):
    """Adam or AdamW with linear warm-up and half a cosine, per step (He et al., 2022)."""

    kind: Literal["adamw", "adam"] = Field(
        "adamw", description="adam adds weight_decay to the gradient, as a penalty on the loss"
    )
    base_lr: float = Field(1.5e-4, gt=0, description="per 256 samples of the effective batch")
    weight_decay: float = Field(0.05, ge=0, description="per step, times the learning rate")
    beta2: float = Field(0.95, ge=0, lt=1, description="decay of the mean squared gradient")
    warmup_epochs: float = Field(40.0, ge=0, description="epochs in which the learning rate rises")
    clip_norm: float | None = Field(None, gt=0, description="greatest norm of the gradient")
    layer_decay: float | None = Field(
        None, gt=0, le=1, description="rate of a block of the encoder over that of the next one"
    )
    sharpness: float | None = Field(
        None,
        gt=0,
        description="radius of sharpness-aware minimization, such as 0.05; a step then costs two",
    )


def make_optimizer(
    model: nn.Module, config: OptimizerConfig, effective_batch: int
) -> torch.optim.Adam:
    """Adam or AdamW; biases, norms, tokens and other vectors are not decayed.

    `effective_batch` counts the samples of a step over all devices and micro-batches.
    """
    peak = config.base_lr * effective_batch / 256
    groups = _groups(model, config.weight_decay)
    if config.layer_decay is not None:
        groups = _layered_groups(model, config.weight_decay, config.layer_decay)
    kinds = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam}
    return kinds[config.kind](
        [{**group, "lr": peak * group.get("lr_scale", 1.0)} for group in groups],
        lr=peak,
        betas=(_BETA1, config.beta2),
        fused=True,
    )


def _groups(
    model: nn.Module, weight_decay: float, apart: Collection[nn.Parameter] = ()
) -> list[dict[str, Any]]:
    known = {id(parameter) for parameter in apart}
    trained = [p for p in model.parameters() if p.requires_grad and id(p) not in known]
    return [
        {"params": [p for p in trained if not _is_vector(p)], "weight_decay": weight_decay},
        {"params": [p for p in trained if _is_vector(p)], "weight_decay": 0.0},
    ]


def _layered_groups(
    model: nn.Module, weight_decay: float, layer_decay: float
) -> list[dict[str, Any]]:
    """Groups whose rate falls from block to block towards the input (BEiT, Bao et al., 2022).

    What is not of the encoder has the full rate, its last block one step less. As timm has it,
    the last norm goes with the last block.
    """
    encoder = getattr(model, "encoder", model)
    vectors = [name for name, value in encoder.named_parameters() if _is_vector(value)]
    layered: list[dict[str, Any]] = param_groups_layer_decay(
        encoder, weight_decay, no_weight_decay_list=vectors, layer_decay=layer_decay
    )
    rest = _groups(model, weight_decay, apart=list(encoder.parameters()))
    rest = [group for group in rest if group["params"]]
    if rest:
        layered = [{**group, "lr_scale": group["lr_scale"] * layer_decay} for group in layered]
    return [*layered, *rest]


def _is_vector(parameter: nn.Parameter) -> bool:
    # Tokens are (1, 1, D): vectors in all but shape.
    return parameter.squeeze().ndim <= 1


def learning_rate_factor(step: int, warmup_steps: float, total_steps: int) -> float:
    """Share of the peak learning rate at a step: linear warm-up, then half a cosine to zero."""
    if step < warmup_steps:
        return (step + 1) / (warmup_steps + 1)
    progress = (step - warmup_steps) / max(1.0, total_steps - warmup_steps)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
