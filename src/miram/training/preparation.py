"""Before a training begins: what cannot work is refused, and what is `auto` is settled."""

import logging
import os
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from numpy.typing import NDArray
from torch import nn

from miram.errors import MiramError
from miram.training.config import AUTO, TrainingConfig
from miram.training.data.prefetch import resident_bytes
from miram.training.device import make_accelerator
from miram.training.memory.budget import plan_budget


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


log = logging.getLogger(__name__)


def check(
    crops: NDArray[np.uint16], rows: NDArray[np.int64], side: int, config: TrainingConfig
) -> None:
    """Refuse samples that do not serve a training, and warn of a budget that hardly does.

    Args:
        crops: (N, H, H) uint16.
        rows: (n,) positions of the crops to train on.
        side: Side of the images the model takes, in pixels.
        config: The budget.

    Raises:
        MiramError: There are fewer crops than a batch, or `side` does not divide theirs.
    """
    if len(rows) < config.samples_per_step:
        raise MiramError(
            f"{len(rows)} crops are fewer than one batch: lower training.batch_size and "
            f"effective_batch ({config.samples_per_step}) or give more data"
        )
    if crops.shape[-1] % side:
        raise MiramError(
            f"crops of side {crops.shape[-1]} do not serve a method that takes side {side}: "
            f"set rois.image_size to a multiple of {side} and run `kedro run --pipeline rois`"
        )
    warmup = config.optimizer.warmup_epochs
    if warmup >= config.epochs:
        log.warning(
            "the warm-up of %g epochs takes the whole training of %d: the learning rate does not "
            "come down again, and may never be what base_lr says. Lower "
            "training.optimizer.warmup_epochs or raise training.epochs",
            warmup,
            config.epochs,
        )


def settled(
    model: nn.Module,
    crops: NDArray[np.uint16],
    rows: NDArray[np.int64],
    side: int,
    config: TrainingConfig,
) -> TrainingConfig:
    """The budget with the portions that memory holds, where `batch_size` is `auto`.

    Args:
        model: As it will be trained.
        crops: (N, H, H) uint16.
        rows: (n,) positions of the crops to train on.
        side: Side of the images the model takes, in pixels.
        config: The budget.

    Raises:
        MiramError: Memory does not hold one sample, or not the whole batch of a model that needs
            it.
    """
    if config.batch_size != AUTO:
        return config
    accelerator = make_accelerator(config)
    device = accelerator.device
    budget = plan_budget(
        model,
        side,
        crops.shape[-1],
        config,
        device,
        resident=resident_bytes(crops, rows, device, config.crop_cache),
        processes=accelerator.num_processes,
        neighbors=processes_here(accelerator),
    )
    # The same in all workers, which wait for each other within a portion.
    batch = least(accelerator, budget.batch_size)
    return budget.applied(config).model_copy(update={"batch_size": batch})
