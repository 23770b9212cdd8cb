"""Sharpness-aware minimization: gradients from where the loss is highest nearby.

Foret P et al. (2021). Sharpness-Aware Minimization for Efficiently Improving Generalization. ICLR.
arXiv 2010.01412
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

_TINY = 1e-12


@contextmanager
@torch.no_grad()
def uphill(model: nn.Module, radius: float) -> Iterator[None]:
    """Move weights along their gradient g by `radius` * g / |g|, and back at the end, bit by bit.

    Gradients of all weights are one vector g; a scale of them, as under fp16, changes nothing.
    """
    moved = [(w, w.grad, w.clone()) for w in model.parameters() if w.grad is not None]
    norm = torch.nn.utils.get_total_norm([gradient for _, gradient, _ in moved])
    for weight, gradient, _ in moved:
        weight.add_(gradient * (radius / (norm + _TINY)))
    try:
        with torch.enable_grad():
            yield
    finally:
        for weight, _, before in moved:
            weight.copy_(before)
