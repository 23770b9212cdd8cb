"""What a trace adds up must be what a real step takes."""

import json
import os
import subprocess
import sys

import pytest
import torch
from torch.profiler import ProfilerActivity, profile

from miram.models.encoder import EncoderConfig
from miram.models.method_kinds import METHOD_KINDS
from miram.training.activation_checkpointing import recompute_activations
from miram.training.config import TrainingConfig
from miram.training.data.augmentation import AugmentationConfig
from miram.training.memory.step_memory import StepKind, take_step, traced_peak

CPU = torch.device("cpu")
ENCODER = EncoderConfig(
    name="vit_tiny_patch16_224", image_size=64, patch_size=8, overrides={"depth": 2}
)
LOW = {"scale": 1, "attention": {"kind": "softmax"}, "depth": 1, "heads": 4}
HIGH = {"scale": 2, "depth": 1, "heads": 4, "loss_on": "all"}


def autoencoder(**high):
    return {
        "kind": "masked_autoencoder",
        "decoder_dim": 64,
        "decoders": [LOW, {**HIGH, **high}],
    }


METHODS = {
    "nystrom": autoencoder(attention={"kind": "nystrom", "num_landmarks": 16}),
    "performer": autoencoder(attention={"kind": "performer"}),
    "cross": autoencoder(kind="cross", share=0.25),
    "lesion": {**autoencoder(kind="cross"), "masking": {"kind": "lesion"}},
    "moco": {"kind": "moco_v3", "hidden": 64, "width": 16},
    "supervised": {"kind": "supervised"},
}


def kind_of(name, precision="fp32", **training):
    method = METHOD_KINDS.model_validate(METHODS[name])
    if name == "supervised":
        model = method.build_classifier(ENCODER, 0, torch.ones(3), several=False)
    else:
        model = method.build(ENCODER, seed=0)
    recipe = TrainingConfig(**{"epochs": 1, "batch_size": 8, **training})
    return StepKind(model, method.crop_size(ENCODER), 128, recipe, precision)


def allocated_peak(kind, batch, recompute):
    """The most bytes that the CPU's allocator had given out in a real step."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        model = kind.model
        with recompute_activations(model, recompute):
            take_step(model, kind, batch, CPU)
    events = [e for e in recorded.profiler.kineto_results.events() if e.name() == "[memory]"]
    now = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        now += event.nbytes()
        peak = max(peak, now)
    weights = [*model.parameters(), *model.buffers()]  # there before the record begins
    return peak + sum(weight.untyped_storage().nbytes() for weight in weights)


@pytest.mark.parametrize(
    ("name", "recompute"),
    [
        ("nystrom", False),
        ("nystrom", True),
        ("performer", True),
        ("cross", False),
        ("lesion", True),
        ("moco", False),
        ("moco", True),
        ("supervised", False),
    ],
)
def test_a_trace_adds_up_what_the_allocator_gives_out(name, recompute):
    kind = kind_of(name)
    told = traced_peak(kind, 6, recompute)
    assert told == pytest.approx(allocated_peak(kind, 6, recompute), rel=0.02)


def test_a_trace_follows_half_precision():
    told = traced_peak(kind_of("nystrom", "bf16"), 32, False)
    assert told < 0.8 * traced_peak(kind_of("nystrom"), 32, False)
    assert told == pytest.approx(allocated_peak(kind_of("nystrom", "bf16"), 32, False), rel=0.02)


def test_without_images_a_training_takes_weights_gradients_and_two_moments():
    kind = kind_of("nystrom")
    one, two = (traced_peak(kind, batch, True) for batch in (1, 2))
    weights = sum(w.nbytes for w in kind.model.parameters() if w.requires_grad)
    fixed = sum(w.nbytes for w in (*kind.model.parameters(), *kind.model.buffers())) - weights
    assert 2 * one - two == pytest.approx(4 * weights + fixed, rel=0.05)


def test_a_moving_average_takes_the_weights_once_more():
    kind, averaged = kind_of("supervised"), kind_of("supervised", ema_decay=0.99)
    weights = sum(w.nbytes for w in (*kind.model.parameters(), *kind.model.buffers()))
    assert traced_peak(averaged, 2, False) - traced_peak(kind, 2, False) == weights


def test_a_blur_does_not_stop_a_trace():
    plain, blurred = (
        traced_peak(kind_of("supervised", augmentation=AugmentationConfig(blur=blur)), 4, False)
        for blur in (0.0, 0.5)
    )
    assert plain == blurred


def test_a_trace_needs_no_storage_and_leaves_model_and_random_state_alone():
    kind = kind_of("performer")
    before = {name: value.clone() for name, value in kind.model.state_dict().items()}
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    told = traced_peak(kind, 4, True)
    assert torch.equal(torch.rand(1), expected)
    assert all(torch.equal(value, before[name]) for name, value in kind.model.state_dict().items())
    assert all(weight.grad is None for weight in kind.model.parameters())
    with torch.device("meta"):
        shapes = kind_of("performer").model
    assert traced_peak(StepKind(shapes, kind.side, 128, kind.training, "fp32"), 4, True) == told
    assert all(weight.is_meta for weight in shapes.parameters())


# Trains twice on the CPU, first a little so that all libraries are there, and tells what the
# process took beyond that. Freed tensors are given back at once, so that no others are counted.
PROCESS = """
import json, sys
import numpy as np, torch
from miram.models.encoder import EncoderConfig
from miram.models.method_kinds import METHOD_KINDS
from miram.training.config import TrainingConfig
from miram.training.loop import train
from miram.memory import memory_use

def run(encoder, method, batch):
    encoder = EncoderConfig.model_validate(encoder)
    method = METHOD_KINDS.model_validate(method)
    model = method.build(encoder, 0)
    crops = np.full((2 * batch, 128, 128), 9, np.uint16)
    training = TrainingConfig(
        epochs=1, batch_size=batch, effective_batch=batch, device="cpu", precision="fp32"
    )
    train(model, crops, method.crop_size(encoder), training)

encoder, method, batch = json.loads(sys.argv[1])
run(encoder, method, 2)
before = memory_use(torch.device("cpu")).current
run(encoder, method, batch)
print(memory_use(torch.device("cpu")).peak - before)
"""


@pytest.mark.parametrize(("name", "batch"), [("nystrom", 32), ("moco", 32)])
def test_a_process_that_trains_takes_what_was_estimated_within_a_factor_of_1_4(name, batch):
    arguments = [ENCODER.model_dump(), METHODS[name], batch]
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": str(2**20)}
    done = subprocess.run(
        [sys.executable, "-c", PROCESS, json.dumps(arguments)],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    taken = int(done.stdout.splitlines()[-1])
    estimated = traced_peak(kind_of(name), batch, False)
    assert 1 / 1.4 < taken / estimated < 1.4
