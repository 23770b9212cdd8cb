"""Encoding in batches as large as memory allows."""

import logging
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from miram.errors import MiramError
from miram.memory import is_out_of_memory
from miram.progress import track

log = logging.getLogger(__name__)

_LIVE = 4  # tensors of the size of the largest that an encoder holds at once
_SHARE = 0.5  # of the free memory


def batch_that_fits(encoder: nn.Module, row: tuple[Tensor, ...], free: int, at_most: int) -> int:
    """How many rows memory holds, by what the layers give out for one of them.

    It is an estimate, since layers also work with memory that they do not give out:
    `encode_in_batches` goes on in smaller batches where it was too high.

    Args:
        encoder: In evaluation mode, on its device.
        row: What it takes, for one row.
        free: Bytes.
        at_most: Rows.
    """
    largest = 1

    def note(_: nn.Module, __: Any, given: Any) -> None:
        nonlocal largest
        if isinstance(given, Tensor):
            largest = max(largest, given.nbytes)

    layers = [module for module in encoder.modules() if not list(module.children())]
    hooks = [layer.register_forward_hook(note) for layer in layers]
    try:
        with torch.inference_mode():
            encoder(*row)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        return 1
    finally:
        for hook in hooks:
            hook.remove()
    return max(1, min(at_most, int(_SHARE * free) // (_LIVE * largest)))


def encode_in_batches(
    encode: Callable[[slice], Tensor], count: int, batch_size: int
) -> list[Tensor]:
    """Encode rows in batches, in smaller ones from where memory no longer suffices.

    Args:
        encode: Takes rows, gives their features.
        count: Number of rows.
        batch_size: Rows at once, at most.

    Returns:
        The features of all rows in order, in pieces.

    Raises:
        MiramError: Memory does not suffice for a single row.
    """
    found, piece = [], batch_size
    starts = range(0, count, batch_size)
    for start in track(starts, "encoded batches", total=len(starts)):
        stop = min(start + batch_size, count)
        while start < stop:
            part = _encoded(encode, slice(start, min(start + piece, stop)))
            if part is not None:
                found.append(part)
                start += piece
                continue
            if piece == 1:
                raise MiramError(
                    "the memory of the device does not suffice to encode one crop: free it, "
                    "or set CUDA_VISIBLE_DEVICES= to use the CPU"
                )
            piece //= 2
            log.warning("memory does not suffice: encoding %d crops at once", piece)
            # Only now: what the failed batch held is free once its error is forgotten.
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
    return found


def _encoded(encode: Callable[[slice], Tensor], rows: slice) -> Tensor | None:
    """The features of some rows, None where memory does not suffice for them."""
    try:
        return encode(rows)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        return None
