"""Activation checkpointing: a transformer block keeps its input, and computes the rest again.

Chen, Xu, Zhang and Guestrin, "Training Deep Nets with Sublinear Memory Cost", 2016, arXiv
1604.06174. The backward pass of a block begins with its forward pass once more: a third more
multiplications in all, for the activations of one block at a time.
"""

import functools
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from timm.models.vision_transformer import (
    Block,
    DiffParallelScalingBlock,
    ParallelScalingBlock,
    ParallelThingsBlock,
    ResPostBlock,
)
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from miram.models.decoders.base import DecoderBlock

log = logging.getLogger(__name__)

# What timm's vision transformers are made of, and our decoders.
BLOCKS = (
    Block,
    DiffParallelScalingBlock,
    ParallelScalingBlock,
    ParallelThingsBlock,
    ResPostBlock,
    DecoderBlock,
)


@contextmanager
def recompute_activations(model: nn.Module) -> Iterator[None]:
    """Let every transformer block compute its activations again, within the block of code.

    Weights keep their names, results their values, random layers their draws. The forward and
    the backward pass must both be within. A copy of the model made within recomputes for good.
    """
    found = [part for part in model.modules() if isinstance(part, BLOCKS)]
    if not found:
        log.warning(
            "%s has no transformer blocks: activation checkpointing changes nothing",
            type(model).__name__,
        )
    blocks = [block for block in found if "forward" not in vars(block)]
    for block in blocks:
        # An attribute of the block, and no module around it: names and types stay as they are.
        # A partial, and no closure: the model can be copied and pickled with it.
        block.forward = functools.partial(_recomputed, block)  # type: ignore[method-assign]
    try:
        yield
    finally:
        for block in blocks:
            del block.forward


def _recomputed(block: nn.Module, *args: Any, **kwargs: Any) -> Tensor:
    """The forward pass of a block that keeps its arguments only."""
    forward = functools.partial(type(block).forward, block)
    if not torch.is_grad_enabled():
        return forward(*args, **kwargs)  # nothing is kept, as by a momentum encoder
    return checkpoint(forward, *args, use_reentrant=False, **kwargs)
