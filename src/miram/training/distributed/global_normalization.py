"""Batch normalization over the samples of all processes, so that two learn what one learns.

What PyTorch's SyncBatchNorm does on GPUs alone, on every device (Ioffe and Szegedy, ICML 2015,
arXiv 1502.03167, with the batch of all processes as theirs).
"""

import functools
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from miram.models.processes import mean_over_processes, processes


@contextmanager
def normalized_together(model: nn.Module) -> Iterator[None]:
    """Let every batch normalization take mean and variance over all processes, within the block.

    Weights keep their names and types. In evaluation mode, and in a process that is alone,
    nothing is changed. Every process has to normalize as many samples.
    """
    norms = [part for part in model.modules() if isinstance(part, _BatchNorm)]
    norms = [norm for norm in norms if not isinstance(norm, nn.SyncBatchNorm)]
    for norm in norms:
        # An attribute, and no module in its place: names and types stay as they are.
        # A partial, and no closure: the model can be copied and pickled with it.
        norm.forward = functools.partial(_together, norm)  # type: ignore[method-assign]
    try:
        yield
    finally:
        for norm in norms:
            del norm.forward


def _together(norm: _BatchNorm, values: Tensor) -> Tensor:
    """The forward pass of a batch normalization."""
    if not norm.training or processes() == 1:
        plain: Tensor = type(norm).forward(norm, values)
        return plain
    normal = _normalize(norm, values)
    for follower in ("drop", "act"):  # of timm's BatchNormAct2d
        if hasattr(norm, follower):
            normal = getattr(norm, follower)(normal)
    return normal


def _normalize(norm: _BatchNorm, values: Tensor) -> Tensor:
    """Normalize (B, C, ...) with the mean and variance of each channel over all processes."""
    wide = values.float()
    axes = [axis for axis in range(wide.dim()) if axis != 1]
    shape = [1, -1] + [1] * (wide.dim() - 2)  # (C,) -> (1, C, 1, ...)
    mean = mean_over_processes(wide.mean(axes))
    centered = wide - mean.view(shape)
    variance = mean_over_processes(centered.square().mean(axes))
    count = wide.numel() // wide.shape[1] * processes()
    _track(norm, mean.detach(), variance.detach() * count / max(1, count - 1))
    normal = centered * torch.rsqrt(variance + norm.eps).view(shape)
    if norm.affine:
        normal = normal * norm.weight.view(shape) + norm.bias.view(shape)
    return normal.to(values.dtype)


def _track(norm: _BatchNorm, mean: Tensor, variance: Tensor) -> None:
    """Let the running statistics follow, as PyTorch does: the variance is the unbiased one."""
    if norm.running_mean is None or norm.running_var is None:
        return
    with torch.no_grad():
        if norm.num_batches_tracked is not None:
            norm.num_batches_tracked.add_(1)
        share = norm.momentum
        if share is None:
            share = 1 / float(norm.num_batches_tracked or 1)
        norm.running_mean.lerp_(mean.to(norm.running_mean.dtype), share)
        norm.running_var.lerp_(variance.to(norm.running_var.dtype), share)
