"""Train in two processes that share the steps, and in one.

    python -c 'import two_workers; two_workers.main()' FOLDER

Each process writes what became of a training to FOLDER/<case>/<workers>-<rank>.pt.
"""

import dataclasses
import os
import signal
import sys
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
import torch.multiprocessing
from timm.layers import BatchNormAct2d
from tiny import CROPS, ENCODER, METHOD, TRAINING
from torch import nn

from miram.errors import MiramError
from miram.models.methods.moco import MocoV3Config
from miram.models.methods.supervised import SupervisedConfig, SupervisedOutput, class_weights
from miram.training.checkpointing.folder import TrainingFolder
from miram.training.checkpointing.manager import Checkpoints
from miram.training.config import CheckpointConfig
from miram.training.device import make_accelerator, processes_here
from miram.training.logging.telemetry import Validation
from miram.training.loop import train

LABELS = np.arange(20) % 3 % 2
SETTINGS = TRAINING.model_copy(update={"epochs": 2, "checkpoints": CheckpointConfig()})


class Convolutions(nn.Module):
    """A classifier with batch normalization over images."""

    needs_labels = True

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Conv2d(1, 4, 3), BatchNormAct2d(4))  # with ReLU
        self.head = nn.Linear(4, 2)

    def forward(self, images, labels):
        logits = self.head(self.layers(images).mean((2, 3)))
        return SupervisedOutput(nn.functional.cross_entropy(logits, labels), {}, logits)


class Spoiled(nn.Module):
    """Has no finite loss where a sample is white all over."""

    def __init__(self, model):
        super().__init__()
        self.model, self.noise_width = model, model.noise_width

    def forward(self, images, noise):
        output = self.model(images, noise)
        white = (images.amin(dim=(1, 2, 3)) > 0.99 * images.amax()).any()
        factor = torch.where(white, float("nan"), 1.0)
        return dataclasses.replace(output, loss=output.loss * factor)


def stop(model):
    """Look at a model and end the training."""
    signal.raise_signal(signal.SIGTERM)
    return Validation()


def train_in(base, case, rank, workers):
    """One training; gives its losses and weights."""
    crops, named, keep, settings = CROPS, {}, None, SETTINGS
    if case == "moco":
        model = MocoV3Config(hidden=32, width=16).build(ENCODER, 0)
    elif case == "convolutions":
        model, named = Convolutions(), {"labels": LABELS}
    elif case == "unequal classes":
        weights = class_weights(LABELS, 2)
        model = SupervisedConfig().build_classifier(ENCODER, 0, weights, several=False)
        named = {"labels": LABELS}
    else:
        model = METHOD.build(ENCODER, 0)
    if case == "apart":  # as on a disk that each machine has for itself
        keep = Checkpoints(TrainingFolder(base / f"disk{rank}"), {})
        if workers == 1:
            named, settings = {"validate": stop}, SETTINGS.model_copy(update={"validate_every": 1})
    if case == "spoiled":
        crops, model = CROPS.copy(), Spoiled(model)
        crops[0] = 65_535
        keep = Checkpoints(TrainingFolder(base / "kept"), {})
    if case == "auto":
        settings = settings.model_copy(update={"batch_size": "auto", "effective_batch": 8})
    history = train(model, crops, 16, settings, checkpoints=keep, **named).history
    here = processes_here(make_accelerator(settings))
    return {"loss": history["loss"].tolist(), "state": model.state_dict(), "here": here}


def work(rank, base, case, workers):
    """See the module."""
    torch.set_num_threads(1)
    if workers > 1:
        own = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": workers, "LOCAL_WORLD_SIZE": workers}
        for name, value in {**own, "MASTER_ADDR": "localhost", "MASTER_PORT": 1}.items():
            os.environ[name] = str(value)  # accelerate wants an address; they meet in a file
        meeting = f"file://{base}/meeting{workers}"
        dist.init_process_group("gloo", meeting, rank=rank, world_size=workers)
    try:
        found = train_in(base, case, rank, workers)
    except MiramError as error:
        found = {"error": str(error)}
    torch.save(found, base / f"{workers}-{rank}.pt")
    if workers > 1:
        dist.destroy_process_group()


def main():
    """See the module."""
    for case in ("moco", "convolutions", "unequal classes", "auto", "apart", "spoiled"):
        base = Path(sys.argv[1]) / case
        base.mkdir()
        for workers in (1, 2):
            torch.multiprocessing.start_processes(
                work, (base, case, workers), nprocs=workers, start_method="fork"
            )
