"""The smallest models that train: shared by tests that only need some training."""

import logging
from contextlib import contextmanager

from miram.models.encoder import EncoderConfig
from miram.models.masked_autoencoder import MaskedAutoencoderConfig
from miram.training.logging.telemetry import LOGGER

ENCODER = EncoderConfig(
    name="vit_tiny_patch16_224",
    image_size=16,
    patch_size=4,
    overrides={"depth": 1, "embed_dim": 32, "num_heads": 2},
)
METHOD = MaskedAutoencoderConfig(
    decoder_dim=16,
    decoders=({"scale": 1, "attention": {"kind": "softmax"}, "depth": 1, "heads": 2},),
)


@contextmanager
def told_losses():
    """Steps whose losses are told within the block, as a tracker hears them."""
    steps = []
    handler = logging.Handler()
    handler.emit = lambda record: steps.append(record.step) if "loss" in record.metrics else None
    LOGGER.addHandler(handler)
    yield steps
    LOGGER.removeHandler(handler)
