"""What only a GPU can show: `pytest tests/training/test_on_a_gpu.py -n 0` where there is one."""

import logging
import signal

import numpy as np
import pytest
import torch
from tiny import ENCODER, METHOD, TRAINING, assert_same

from miram.memory import free_memory
from miram.models.encoder import EncoderConfig
from miram.training.checkpointing.folder import TrainingFolder
from miram.training.checkpointing.interruption import TrainingInterrupted
from miram.training.checkpointing.manager import Checkpoints
from miram.training.distributed.cluster import EngineConfig
from miram.training.distributed.launch import launch
from miram.training.logging.telemetry import Validation
from miram.training.loop import train
from miram.training.memory_budget import plan_budget

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")

SIDE, WIDE = 16, 128
RANDOM = np.random.default_rng(0)
CROPS = RANDOM.integers(0, 65_536, (64, SIDE, SIDE), dtype=np.uint16)
LARGE = EncoderConfig(name="vit_tiny_patch16_224", image_size=WIDE, patch_size=8)
CONFIG = TRAINING.model_copy(update={"batch_size": 16, "device": "auto"})


def trained(keep=None, validate=None, **values):
    """Weights and history of a training on the GPU."""
    model = METHOD.build(ENCODER, 0)
    config = CONFIG.model_copy(update=values)
    history = train(model, CROPS, SIDE, config, checkpoints=keep, validate=validate).history
    return {name: value.cpu() for name, value in model.state_dict().items()}, history


def test_a_gpu_gives_the_losses_of_a_cpu():
    (_, expected), (_, found) = trained(device="cpu"), trained()
    np.testing.assert_allclose(found["loss"], expected["loss"], rtol=1e-3)
    assert found["peak_memory_gb"].iloc[-1] > 0


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_trains_to_a_similar_loss(precision):
    (_, expected), (_, found) = trained(), trained(precision=precision)
    assert found["loss"].iloc[-1] == pytest.approx(expected["loss"].iloc[-1], rel=0.05)
    assert ("overflow" in found) == (precision == "fp16")


def test_crops_from_pinned_memory_give_the_weights_of_crops_on_the_device():
    (host, _), (device, _) = (
        trained(crop_cache=where, deterministic=True) for where in ("host", "device")
    )
    assert_same(host, device)


def test_a_resumed_run_equals_an_uninterrupted_run(tmp_path):
    keep = Checkpoints(TrainingFolder(tmp_path), {})

    def stop(model):
        signal.raise_signal(signal.SIGTERM)
        return Validation({})

    settings = {"deterministic": True, "precision": "fp16", "validate_every": 2}
    whole, _ = trained(**settings, validate=lambda model: Validation({}))
    with pytest.raises(TrainingInterrupted):
        trained(keep, stop, **settings)
    resumed, _ = trained(keep, lambda model: Validation({}), **settings)
    assert_same(resumed, whole)


def test_what_is_measured_fits_and_is_nearly_used():
    device = torch.device("cuda")
    limit = min(free_memory(device), 4_000_000_000)
    config = CONFIG.model_copy(
        update={"batch_size": "auto", "effective_batch": 4096, "memory": f"{limit}B"}
    )
    budget = plan_budget(METHOD.build(LARGE, 0), WIDE, config, device)
    assert budget.measured
    crops = RANDOM.integers(0, 65_536, (budget.batch_size, WIDE, WIDE), dtype=np.uint16)
    torch.cuda.reset_peak_memory_stats()
    once = {"epochs": 1, "batch_size": budget.batch_size, "crop_cache": "host"}
    train(METHOD.build(LARGE, 0), crops, WIDE, CONFIG.model_copy(update=once))
    assert 0.7 * budget.peak < torch.cuda.max_memory_allocated() < limit


def test_out_of_memory_halves_the_micro_batch_and_keeps_the_step(caplog):
    crops = RANDOM.integers(0, 65_536, (256, WIDE, WIDE), dtype=np.uint16)
    config = CONFIG.model_copy(update={"epochs": 1, "batch_size": 256})
    torch.cuda.reset_peak_memory_stats()
    plenty = train(METHOD.build(LARGE, 0), crops, WIDE, config).history
    peak = torch.cuda.max_memory_allocated()
    torch.cuda.empty_cache()
    whole = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction(0.6 * peak / whole)
    try:
        with caplog.at_level(logging.WARNING):
            tight = train(METHOD.build(LARGE, 0), crops, WIDE, config).history
        assert "out of memory with 256 samples at once: continuing with 128" in caplog.text
        np.testing.assert_allclose(tight["loss"], plenty["loss"], rtol=1e-3)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)


def test_a_worker_of_ray_shares_gradients_over_nccl():
    pytest.importorskip("ray")
    engine = EngineConfig(kind="ray", num_workers=1, resources={"CPU": 1, "GPU": 1})

    def losses_in_worker():  # a local function, which is sent by value
        history = train(METHOD.build(ENCODER, 0), CROPS, SIDE, CONFIG).history
        return torch.distributed.get_backend(), history["loss"].tolist()

    backend, losses = launch(losses_in_worker, engine=engine)
    assert "nccl" in backend
    np.testing.assert_allclose(losses, trained()[1]["loss"], rtol=1e-3)
