"""Islands of full precision inside a half-precision forward pass."""

import torch
from torch import Tensor


def no_autocast(x: Tensor) -> torch.autocast:
    """Context in which autocast is off on the device of ``x``, be it a CPU or a GPU."""
    return torch.autocast(x.device.type, enabled=False)


def at_least_float32(x: Tensor) -> Tensor:
    """Cast half precision to float32; leave float32 and float64 as they are."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
