"""A training that meets a full disk, too little memory or crops that wait in a file."""

import logging
import os
import resource
import subprocess
import sys

import numpy as np
import psutil
import pytest
import torch
from tiny import CROPS, ENCODER, METHOD, assert_same
from tiny import TRAINING as CONFIG

from miram.errors import MiramError
from miram.models.methods.masked_autoencoder import MaskedAutoencoderOutput
from miram.models.methods.moco import MocoV3Config
from miram.training.checkpointing.folder import TrainingFolder, read_state
from miram.training.checkpointing.manager import Checkpoints
from miram.training.logging.telemetry import LOGGER
from miram.training.loop import train


def run(keep=None, crops=CROPS, rows=None, **changes):
    model = METHOD.build(ENCODER, 0)
    config = CONFIG.model_copy(update=changes)
    trained = train(model, crops, 16, config, rows=rows, checkpoints=keep)
    return model.state_dict(), trained.history


class DiskFull(logging.Handler):
    """From a step on, no file of this process may grow: writes fail halfway."""

    def __init__(self, step):
        super().__init__()
        self.step = step

    def emit(self, record):
        if record.step == self.step:
            _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
            resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))


@pytest.fixture
def disk_full_after():
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handlers = []

    def start(step):
        handlers.append(DiskFull(step))
        LOGGER.addHandler(handlers[0])

    yield start
    for handler in handlers:
        LOGGER.removeHandler(handler)
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_on_a_full_disk_the_old_state_survives_and_once_there_is_room_the_training_ends(
    tmp_path, disk_full_after, caplog
):
    expected, _ = run()
    keep = Checkpoints(TrainingFolder(tmp_path), {})
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    disk_full_after(3)
    reported = (
        r"could not be kept: cannot write .*; make room there\. Then the same command resumes"
    )
    with pytest.raises(MiramError, match=reported):
        run(keep)
    assert "the state after step 4 could not be kept" in caplog.text
    assert [path.name for path in tmp_path.glob("*.pt")] == ["step-000000002.pt"]
    assert read_state(tmp_path / "step-000000002.pt")["step"] == 2
    resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    LOGGER.removeHandler(LOGGER.handlers[-1])
    assert_same(run(keep)[0], expected)


def test_crops_in_a_file_give_the_weights_of_crops_in_memory(tmp_path):
    np.save(tmp_path / "crops.npy", CROPS)
    rows = np.array([3, 1, 4, 5, 9, 2, 6, 8, 7, 12, 11, 10])
    expected, history = run(crops=CROPS[rows])
    found, on_host = run(
        crops=np.load(tmp_path / "crops.npy", mmap_mode="r"), rows=rows, crop_cache="host"
    )
    assert_same(found, expected)
    for each in (history, on_host):
        assert each["data_wait"].between(0, 1).all()


def test_a_method_that_compares_samples_refuses_micro_batches():
    model = MocoV3Config(hidden=16, width=8).build(ENCODER, 0)
    config = CONFIG.model_copy(update={"batch_size": 4, "effective_batch": 8})
    with pytest.raises(MiramError, match=r"set training\.batch_size to effective_batch \(8\)"):
        train(model, CROPS, 16, config)


_SMALL = """
import resource, sys, logging
import numpy as np, torch
torch.set_num_threads(1)
logging.basicConfig(level=logging.WARNING, format="%(message)s")
from miram.models.encoder import EncoderConfig
from miram.models.methods.masked_autoencoder import MaskedAutoencoderConfig
from miram.training.config import TrainingConfig
from miram.training.loop import train
room, side, count = map(int, sys.argv[1:])
encoder = EncoderConfig(name="vit_tiny_patch16_224", image_size=side, patch_size=4,
                        overrides={"depth": 2})
method = MaskedAutoencoderConfig(
    decoder_dim=64,
    decoders=({"scale": 1, "attention": {"kind": "softmax"}, "depth": 1, "heads": 2},))
crops = np.random.default_rng(0).integers(0, 65536, (count, side, side), dtype=np.uint16)
config = TrainingConfig(epochs=1, batch_size=count, log_every=1, precision="fp32", device="cpu")
model = method.build(encoder, 0)
train(method.build(encoder, 0), crops[:1], side, config.model_copy(update={"batch_size": 1}))
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
room = room * 2**20
resource.setrlimit(resource.RLIMIT_AS, (used + room, used + room))
history = train(model, crops, side, config).history
print("loss", history["loss"].iloc[-1])
"""


def small_machine(megabytes, side=64, count=64):
    return subprocess.run(
        [sys.executable, "-c", _SMALL, *map(str, (megabytes, side, count))],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def test_out_of_memory_halves_the_micro_batch_and_keeps_the_step():
    plenty, tight = small_machine(20_000), small_machine(120)
    assert "out of memory" not in plenty.stderr
    assert "out of memory with 64 samples at once: continuing with 32" in tight.stderr
    assert "a step still takes 64" in tight.stderr
    losses = [float(run.stdout.split("loss")[-1]) for run in (plenty, tight)]
    np.testing.assert_allclose(*losses, rtol=1e-4)


def test_memory_for_not_even_one_sample_is_reported():
    run = small_machine(15, side=256, count=4)
    assert run.returncode
    assert "too little memory for 1 samples at once" in run.stderr
    assert "miram budget" in run.stderr


class ManyWeights(torch.nn.Module):
    """Far more weights than activations."""

    def __init__(self, count):
        super().__init__()
        self.weights = torch.nn.Parameter(torch.ones(count))

    def forward(self, images):
        loss = (self.weights[: len(images)] * images.mean((1, 2, 3))).mean()
        return MaskedAutoencoderOutput(loss, {}, (), images)


def test_no_room_for_the_optimizers_moments_is_reported():
    size = 200_000_000  # bytes of the weights; gradients take as much, moments twice as much
    model = ManyWeights(size // 4)
    train(ManyWeights(8), CROPS, 16, CONFIG)  # what PyTorch makes once is there
    before = resource.getrlimit(resource.RLIMIT_AS)
    used = psutil.Process().memory_info().vms
    resource.setrlimit(resource.RLIMIT_AS, (used + 2 * size + size // 2, before[1]))
    try:
        with pytest.raises(MiramError, match=r"for the optimizer.*batch_size does not help"):
            train(model, CROPS, 16, CONFIG)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)
