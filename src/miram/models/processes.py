"""The processes that share a step, seen from within a model's forward pass."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

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
    from torch.distributed.nn.functional import all_reduce  # not every torch has it

    total: Tensor = all_reduce(values)
    return total / processes()
