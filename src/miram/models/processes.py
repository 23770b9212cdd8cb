"""The processes that share a step, seen from within a model's forward pass."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

_ALONE = ContextVar("alone", default=False)


def processes() -> int:
    """How many processes go forward together, each with its own samples."""
    if _ALONE.get() or not (dist.is_available() and dist.is_initialized()):
        return 1
    return dist.get_world_size()


@contextmanager
def alone() -> Iterator[None]:
    """Go forward without the other processes, within the block: none of them is waited for."""
    token = _ALONE.set(True)
    try:
        yield
    finally:
        _ALONE.reset(token)


def mean_over_processes(values: Tensor) -> Tensor:
    """Average over all processes, with a gradient that reaches the values of all of them."""
    total: Tensor = _Sum.apply(values)
    return total / processes()


class _Sum(torch.autograd.Function):
    """A sum over processes. Each value counts for the loss of every process."""

    @staticmethod
    def forward(context: Any, values: Tensor) -> Tensor:
        total = values.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Tensor:
        total: Tensor = _Sum.apply(gradient)
        return total
