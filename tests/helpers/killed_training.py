"""Train in processes that are killed at given steps until one reaches the end.

    python killed_training.py FOLDER METHOD STEP [STEP ...]

Each process trains from what is in FOLDER/kept. The first ones kill themselves with SIGKILL after
the steps given. Prints how many were killed and the digest of the weights in the end.
"""

import hashlib
import json
import logging
import os
import signal
import sys
from pathlib import Path

import numpy as np
import torch

from miram.models.encoder import EncoderConfig
from miram.models.methods.masked_autoencoder import MaskedAutoencoderConfig
from miram.models.methods.moco import MocoV3Config
from miram.training.checkpointing.folder import TrainingFolder
from miram.training.checkpointing.manager import Checkpoints
from miram.training.config import CheckpointConfig, TrainingConfig
from miram.training.data.augmentation import AugmentationConfig
from miram.training.logging.telemetry import LOGGER
from miram.training.loop import train
from miram.training.optimizer import OptimizerConfig

ENCODER = EncoderConfig(
    name="vit_tiny_patch16_224",
    image_size=16,
    patch_size=4,
    # Drop path draws from torch's own generator, which has to be where it was.
    overrides={"depth": 2, "embed_dim": 32, "num_heads": 2, "drop_path_rate": 0.2},
)
PERFORMER = {"kind": "performer", "redraw_every": 3}
METHODS = {
    "performer": MaskedAutoencoderConfig(
        decoder_dim=16,
        decoders=(
            {"scale": 1, "attention": {"kind": "softmax"}, "depth": 1, "heads": 2},
            {"scale": 2, "attention": PERFORMER, "depth": 1, "heads": 2, "loss_on": "all"},
        ),
    ),
    "moco": MocoV3Config(hidden=32, width=16),
}
CONFIG = TrainingConfig(
    epochs=5,
    batch_size=6,
    log_every=1,
    precision="fp32",
    device="cpu",
    checkpoints=CheckpointConfig(every_epochs=1, every_minutes=None),
    optimizer=OptimizerConfig(base_lr=3e-2, warmup_epochs=1, clip_norm=1.0),
    augmentation=AugmentationConfig(min_area=0.5),
)


class Killer(logging.Handler):
    """Kills the process once a step has been reported."""

    def __init__(self, step):
        super().__init__()
        self.step = step

    def emit(self, record):
        if record.step == self.step:
            os.kill(os.getpid(), signal.SIGKILL)


def train_on(folder, method, kill_after=None):
    """Train in this process; gives the digest of the weights and the history."""
    torch.set_num_threads(1)
    if kill_after is not None:
        LOGGER.addHandler(Killer(kill_after))
    chosen = METHODS[method]
    changes = {} if method == "moco" else {"ema_decay": 0.9, "effective_batch": 6, "batch_size": 4}
    config = TrainingConfig(**{**dict(CONFIG), **changes})
    model = chosen.build(ENCODER, 0)
    crops = np.random.default_rng(0).integers(0, 65_536, (20, 32, 32), dtype=np.uint16)
    keep = Checkpoints(TrainingFolder(folder), {"method": method}) if folder else None
    history = train(model, crops, chosen.crop_size(ENCODER), config, checkpoints=keep).history
    digest = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        digest.update(name.encode() + value.numpy().tobytes())
    steady = history[["step", "epoch", "loss", "gradient_norm", "lr"]]
    return digest.hexdigest(), steady.to_dict("list")


def in_a_process(folder, *arguments):
    """Train in a child process; gives its exit status and writes its result."""
    child = os.fork()
    if child == 0:
        result = train_on(folder, *arguments)
        (Path(sys.argv[1]) / "result.json").write_text(json.dumps(result))
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def main():
    """See the module."""
    base, method, steps = Path(sys.argv[1]), sys.argv[2], [int(step) for step in sys.argv[3:]]
    assert in_a_process(None, method) == 0
    straight = json.loads((base / "result.json").read_text())
    statuses = [in_a_process(base / "kept", method, step) for step in steps]
    assert in_a_process(base / "kept", method) == 0
    resumed = json.loads((base / "result.json").read_text())
    print(json.dumps({"statuses": statuses, "straight": straight, "resumed": resumed}))


if __name__ == "__main__":
    main()
