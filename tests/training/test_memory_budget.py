"""The micro-batches chosen fit, and what is estimated without computing is near the truth."""

import json
import math
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny import assert_same

from miram.errors import MiramError
from miram.models.encoder import EncoderConfig
from miram.models.methods.kinds import METHOD_KINDS, build_on_meta_device
from miram.training.config import TrainingConfig
from miram.training.loop import train
from miram.training.memory_budget import Trial, estimated_bytes, largest_batch, plan_budget

CPU = torch.device("cpu")
ENCODER = EncoderConfig(
    name="vit_tiny_patch16_224", image_size=64, patch_size=8, overrides={"depth": 2}
)
HIGH = {"scale": 2, "depth": 1, "heads": 4, "loss_on": "all"}
METHODS = {
    "nystrom": {
        "kind": "masked_autoencoder",
        "decoder_dim": 64,
        "decoders": [{**HIGH, "attention": {"kind": "nystrom", "num_landmarks": 16}}],
    },
    "lesion": {
        "kind": "masked_autoencoder",
        "decoder_dim": 64,
        "decoders": [{**HIGH, "kind": "cross"}],
        "masking": {"kind": "lesion"},
    },
    "moco": {"kind": "moco_v3", "hidden": 64, "width": 16},
    "supervised": {"kind": "supervised"},
}


def trial(name, precision="fp32", **training):
    method = METHOD_KINDS.model_validate(METHODS[name])
    plain = {"epochs": 1, "batch_size": 8, "precision": precision}
    recipe = TrainingConfig(**{**plain, **training})
    model = build_on_meta_device(method, ENCODER)
    return Trial(model, method.crop_size(ENCODER), recipe, precision)


def plan(name="nystrom", **given):
    extra = {key: given.pop(key) for key in ("resident", "processes", "neighbors") if key in given}
    auto = {"batch_size": "auto", "effective_batch": 4096}
    step = trial(name, **{**auto, **given})
    return plan_budget(step.model, step.image_size, step.training, CPU, **extra)


@given(st.integers(0, 5000), st.integers(1, 300), st.integers(1, 20_000), st.integers(1, 500))
def test_the_largest_half_of_a_half_that_fits_is_taken(fixed, slope, usable, target):
    def peak(size):
        taken = fixed + slope * size
        return None if taken > 3 * usable else taken  # far too much: the device runs out

    size, _ = largest_batch(peak, usable, target)
    assert 0 <= size <= target
    if size:
        assert fixed + slope * size <= usable
        assert size == target or fixed + slope * 2 * size > usable
    else:
        assert fixed + slope > usable


@pytest.mark.parametrize("name", METHODS)
def test_without_samples_a_training_takes_weights_gradients_and_two_moments(name):
    step = trial(name)
    fixed, per_image = estimated_bytes(step)
    weights = sum(w.nbytes for w in step.model.parameters() if w.requires_grad)
    state = sum(w.nbytes for w in (*step.model.parameters(), *step.model.buffers()))
    assert fixed == pytest.approx(3 * weights + state, rel=0.1)
    assert per_image > 0
    averaged, _ = estimated_bytes(trial(name, ema_decay=0.99))
    assert averaged - fixed == state


def test_half_precision_and_recomputed_activations_take_less():
    _, plain = estimated_bytes(trial("nystrom"))
    for less in (trial("nystrom", "bf16"), trial("nystrom", activation_checkpointing=True)):
        assert estimated_bytes(less)[1] < 0.9 * plain


def test_an_estimate_leaves_model_and_random_numbers_alone():
    method = METHOD_KINDS.model_validate(METHODS["nystrom"])
    model = method.build(ENCODER, seed=0)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    shapes = trial("nystrom")
    real = Trial(model, shapes.image_size, shapes.training, "fp32")
    assert estimated_bytes(real) == estimated_bytes(shapes)
    assert torch.equal(torch.rand(1), expected)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


# Trains twice on the CPU, first a little so that all libraries are there, and prints what the
# process took beyond that. Freed tensors are given back at once, so that no others are counted.
PROCESS = """
import json, sys
import numpy as np, psutil, torch
from miram.memory import peak_memory
from miram.models.encoder import EncoderConfig
from miram.models.methods.kinds import METHOD_KINDS
from miram.training.config import TrainingConfig
from miram.training.loop import train

def run(batch):
    model = method.build(encoder, 0)
    crops = np.full((2 * batch, 128, 128), 9, np.uint16)
    training = TrainingConfig(epochs=1, batch_size=batch, device="cpu", precision="fp32")
    train(model, crops, method.crop_size(encoder), training)

encoder, method, batch = json.loads(sys.argv[1])
encoder = EncoderConfig.model_validate(encoder)
method = METHOD_KINDS.model_validate(method)
run(2)
before = psutil.Process().memory_info().rss
run(batch)
print(peak_memory(torch.device("cpu")) - before)
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", ["nystrom", "moco"])
def test_a_process_that_trains_takes_what_was_estimated_within_a_factor_of_1_6(name):
    arguments = json.dumps([ENCODER.model_dump(), METHODS[name], 32])
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": str(2**20)}
    run = subprocess.run(
        [sys.executable, "-c", PROCESS, arguments],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
    )
    fixed, per_image = estimated_bytes(trial(name))
    assert fixed + 32 * per_image == pytest.approx(int(run.stdout), rel=0.6)


def test_crops_and_further_devices_are_counted_in():
    alone = plan(memory="2.5GB")
    assert alone.batch_size * alone.accumulation >= 4096 > alone.batch_size
    assert not alone.measured
    crowded = plan(memory="2.5GB", resident=500_000_000)
    assert crowded.batch_size < alone.batch_size
    assert crowded.peak > 500_000_000
    shared = plan(memory="2.5GB", processes=4)
    assert shared.accumulation == math.ceil(1024 / shared.batch_size)


def test_workers_on_one_machine_share_what_is_free_but_not_a_limit_of_each():
    whole, half = plan(effective_batch=2), plan(effective_batch=2, processes=2, neighbors=2)
    assert half.limit == pytest.approx(whole.limit / 2, rel=0.2)  # others use the machine as well
    assert plan(memory="3GB", effective_batch=2, neighbors=2).limit == 3_000_000_000


def test_memory_that_does_not_suffice_is_refused_with_what_to_change():
    with pytest.raises(MiramError, match=r"with one image .*\(1\.5GB of memory.*image_size"):
        plan(memory="1.5GB")
    assert plan("moco", memory="12GB", effective_batch=64).accumulation == 1
    with pytest.raises(MiramError, match=r"all 4096 samples .* lower training\.effective_batch"):
        plan("moco", memory="3GB", effective_batch=4096)


def test_batch_size_auto_trains_to_the_weights_of_the_same_step():
    crops = np.random.default_rng(0).integers(0, 65_536, (8, 128, 128), dtype=np.uint16)
    weights = []
    for batch_size in (4, "auto"):
        model = METHOD_KINDS.model_validate(METHODS["nystrom"]).build(ENCODER, seed=0)
        recipe = TrainingConfig(
            epochs=1, batch_size=batch_size, effective_batch=4, precision="fp32", device="cpu"
        )
        trained = train(model, crops, 128, recipe)
        assert trained.facts["training"]["batch_size"] == 4
        weights.append(model.state_dict())
    assert_same(*weights)
