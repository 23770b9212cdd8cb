"""What processes that share a training have to agree on, and what happens where they do not."""

import os
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object

from miram.errors import MiramError


def refuse_different_starts(accelerator: Accelerator, step: int, folder: Path | None) -> None:
    """Let all processes go on from the same step, or none.

    Args:
        accelerator: Of this process.
        step: Taken so far, as this process knows.
        folder: Where it looked for the state; None if nothing is kept.

    Raises:
        MiramError: Another process goes on from another step.
    """
    if accelerator.num_processes == 1:
        return
    steps = gather_object([step])
    if len(set(steps)) > 1:
        told = ", ".join(f"worker {rank} after step {one}" for rank, one in enumerate(steps))
        raise MiramError(
            f"the workers do not go on from the same state in {folder}: {told}. data_root must be "
            "on a disk that all workers share, under the same name"
        )


def least(accelerator: Accelerator, value: int) -> int:
    """The least value of all processes."""
    if accelerator.num_processes == 1:
        return value
    found = torch.tensor([value], device=accelerator.device)
    return int(accelerator.gather(found).min())


def processes_here(accelerator: Accelerator) -> int:
    """How many of the processes run on this machine, as their launcher says."""
    here = int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    return min(here, accelerator.num_processes)
