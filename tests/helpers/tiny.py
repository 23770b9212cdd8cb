"""The smallest models, crops and budgets: shared by tests that only need some training."""

import logging
from contextlib import contextmanager

import numpy as np
import pandas as pd
import torch

from miram.mammography.crops.store import CropStore, write_store
from miram.models.encoder import EncoderConfig
from miram.models.methods.masked_autoencoder import MaskedAutoencoderConfig
from miram.training.config import CheckpointConfig, TrainingConfig
from miram.training.logging.telemetry import LOGGER
from miram.training.optimizer import OptimizerConfig

ENCODER = EncoderConfig(
    name="vit_tiny_patch16_224",
    image_size=16,
    patch_size=4,
    overrides={"depth": 1, "embed_dim": 32, "num_heads": 2},
)
VIT_TINY = EncoderConfig(
    name="vit_tiny_patch16_224", image_size=32, patch_size=8, overrides={"depth": 2}
)
METHOD = MaskedAutoencoderConfig(
    decoder_dim=16,
    decoders=({"scale": 1, "attention": {"kind": "softmax"}, "depth": 1, "heads": 2},),
)
CROPS = np.random.default_rng(0).integers(0, 65_536, (20, 16, 16), dtype=np.uint16)
TRAINING = TrainingConfig(  # of CROPS: 8 steps
    epochs=4,
    batch_size=8,
    log_every=1,
    precision="fp32",
    device="cpu",
    checkpoints=CheckpointConfig(every_epochs=1, every_minutes=None),
    optimizer=OptimizerConfig(base_lr=1e-2, warmup_epochs=1),
)


def stripes(count=20, side=32, least=2):
    """Crops that are told apart by the direction and width of their stripes."""
    random = np.random.default_rng(0)
    rows, columns = np.mgrid[:side, :side] / side
    angles, widths = random.uniform(0, np.pi, count), random.uniform(least, least + 4, count)
    waves = [
        np.sin(2 * np.pi * width * (rows * np.sin(angle) + columns * np.cos(angle)))
        for angle, width in zip(angles, widths, strict=True)
    ]
    return np.rint((np.stack(waves) + 1) / 2 * 65_535).astype(np.uint16)


def make_store(folder, pixels, names=None, patients="P", coverage=255, kinds="lesion"):
    """A crop store of lesions that are named by their place, unless names are given."""
    names = [f"lesion{i}" for i in range(len(pixels))] if names is None else names
    manifest = pd.DataFrame({"crop_id": names, "kind": kinds, "patient_id": patients})
    pieces = [{"crops": pixels, "masks": np.full((len(pixels), 4, 4), coverage, np.uint8)}]
    audit = pd.DataFrame(columns=["code"])
    write_store(folder, pieces, manifest=manifest, audit=audit, parameters={}, tasks={})
    return CropStore.open(folder)


def assert_same(first, second):
    """Weights by name are the same, bit for bit."""
    assert first and first.keys() == second.keys()
    for name, value in first.items():
        assert torch.equal(value, second[name]), name


@contextmanager
def logged_losses():
    """Steps whose losses are logged within the block."""
    steps = []
    handler = logging.Handler()
    handler.emit = lambda record: steps.append(record.step) if "loss" in record.metrics else None
    LOGGER.addHandler(handler)
    yield steps
    LOGGER.removeHandler(handler)
