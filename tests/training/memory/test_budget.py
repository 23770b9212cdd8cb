"""The portions chosen fit, are as large as they can be, and are explained."""

import functools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from miram.errors import MiramError
from miram.models.encoder import EncoderConfig
from miram.models.masked_autoencoder import MaskedAutoencoderConfig
from miram.models.moco import MocoV3Config
from miram.training.config import TrainingConfig
from miram.training.loop import train
from miram.training.memory.budget import plan_budget
from miram.training.memory.portions import DECENT_BATCH, choose, largest_portion
from miram.training.memory.step_memory import StepKind, traced_peak

CPU = torch.device("cpu")
ENCODER = EncoderConfig(
    name="vit_tiny_patch16_224", image_size=64, patch_size=4, overrides={"depth": 1}
)
AUTOENCODER = MaskedAutoencoderConfig(
    decoder_dim=64,
    decoders=(
        {"scale": 2, "attention": {"kind": "softmax"}, "depth": 1, "heads": 4, "loss_on": "all"},
    ),
)
METHODS = {"autoencoder": AUTOENCODER, "moco": MocoV3Config(hidden=64, width=16)}


def device(memory, kept=(1000, 100), recomputed=(1000, 20)):
    """A device of so many bytes, and steps on it that take so much fixed and per sample."""

    def peak(batch, recompute):
        fixed, per_image = recomputed if recompute else kept
        size = fixed + batch * per_image
        if size > memory:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return size

    return peak


def test_a_step_that_fits_at_once_is_taken_at_once_with_activations_kept():
    choice = choose(device(10_000), 9000, target=80)
    assert (choice.batch, choice.recompute) == (80, False)
    assert choice.reason == "all 80 samples of a step fit with activations kept"


def test_portions_are_as_few_as_fit_and_of_nearly_equal_size():
    choice = choose(device(10_000), 5000, target=100)
    assert choice.batch == 34  # not 40, 40 and 20
    assert math.ceil(100 / choice.batch) == 3
    assert not choice.recompute


def test_activations_are_recomputed_where_few_samples_would_fit():
    below = 1000 + 100 * DECENT_BATCH - 1
    choice = choose(device(10_000), below, target=64)
    assert choice.recompute
    assert choice.batch == 64
    assert "with activations recomputed; kept, 13 would" in choice.reason
    assert not choose(device(10_000), below + 1, target=64).recompute


def test_activations_are_kept_where_recomputing_helps_nothing():
    choice = choose(device(10_000, recomputed=(1000, 100)), 1500, target=64)
    assert (choice.batch, choice.recompute) == (5, False)


def test_recomputing_is_obeyed_where_it_is_asked_for():
    choice = choose(device(10_000), 9000, target=8, always_recompute=True)
    assert choice.recompute and choice.batch == 8
    assert choice.reason.endswith("as asked")


def test_samples_of_use_only_all_at_once_are_recomputed_rather_than_split():
    choice = choose(device(10_000), 3000, target=90, whole=True)
    assert (choice.batch, choice.recompute) == (90, True)
    assert choose(device(10_000), 3000, target=20, whole=True).recompute is False
    assert choose(device(10_000), 3000, target=101, whole=True).batch == 100


def test_a_device_that_runs_out_while_sizes_are_tried_is_no_fault():
    choice = largest_portion(device(1350), 5000, target=64, recompute=False)
    assert choice.batch == 2  # after halving what ran out
    assert largest_portion(device(1050), 5000, target=64, recompute=False).line is None


def test_other_faults_of_a_step_are_told():
    def peak(batch, recompute):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="mat1"):
        choose(peak, 1000, 8)


lines = st.lists(st.tuples(st.integers(0, 5000), st.integers(1, 300)), min_size=1, max_size=4)


@given(lines, st.integers(1, 20_000), st.integers(1, 500))
@settings(deadline=None)
def test_whatever_is_chosen_fits_though_no_single_line_tells_the_peak(lines, usable, target):
    def peak(batch, recompute):
        return max(fixed + slope * batch for fixed, slope in lines)

    choice = choose(peak, usable, target)
    assert 0 <= choice.batch <= target
    if choice.batch:
        assert peak(choice.batch, False) <= usable
    elif len(lines) == 1:
        assert peak(1, False) > usable
    if choice.batch < target and len(lines) == 1 and choice.batch:
        fewer = math.ceil(target / choice.batch) - 1
        assert peak(math.ceil(target / fewer), False) > usable


@functools.cache  # a budget is frozen, and takes a second or two
def plan(name="autoencoder", **training):
    values = {"epochs": 1, "batch_size": "auto", "effective_batch": 512, "precision": "fp32"}
    ours = ("resident", "processes", "neighbors")
    extra = {name: training.pop(name) for name in ours if name in training}
    method = METHODS[name]
    with torch.device("meta"):
        model = method.build(ENCODER, seed=0)
    recipe = TrainingConfig(**{**values, **training})
    return plan_budget(model, method.crop_size(ENCODER), 128, recipe, CPU, **extra)


def test_a_real_models_portions_fit_and_larger_ones_would_not():
    budget = plan(memory="3GB")
    assert not budget.measured
    assert budget.limit == 3_000_000_000
    assert 1 < budget.accumulation == math.ceil(512 / budget.batch_size)
    model = AUTOENCODER.build(ENCODER, seed=0)
    recipe = TrainingConfig(epochs=1, batch_size=1)
    step = StepKind(model, 128, 128, recipe, "fp32")
    usable = 1_500_000_000  # half of it is left for what an estimate misses
    recompute = budget.activation_checkpointing
    size = traced_peak(step, budget.batch_size, recompute)
    assert size <= usable
    assert budget.peak == pytest.approx(size, rel=0.01)
    fewer = math.ceil(512 / (budget.accumulation - 1))
    assert traced_peak(step, fewer, recompute) > usable


def test_crops_and_further_devices_are_counted_in():
    alone = plan(memory="3GB")
    crowded = plan(memory="3GB", resident=1_000_000_000)
    assert crowded.batch_size < alone.batch_size
    assert crowded.bytes_fixed > 1_000_000_000
    shared = plan(memory="3GB", processes=4, activation_checkpointing=True)
    assert (
        shared.batch_size * shared.accumulation
        >= 128
        > shared.batch_size * (shared.accumulation - 1)
    )


def test_without_a_limit_it_is_what_is_free():
    assert plan(effective_batch=2).limit > 0


def test_workers_on_one_machine_share_what_is_free_but_not_a_limit_of_each():
    whole, half = plan(effective_batch=2), plan(effective_batch=2, processes=2, neighbors=2)
    assert half.limit == pytest.approx(whole.limit / 2, rel=0.2)  # others use the machine as well
    assert plan(memory="3GB", effective_batch=2, neighbors=2).limit == 3_000_000_000


def test_memory_that_holds_no_image_is_refused_with_what_to_change():
    with pytest.raises(MiramError, match=r"\(1\.6GB of memory.*lower encoder\.image_size"):
        plan(memory="1.6GB", resident=99_000_000)
    with pytest.raises(MiramError, match="without any image a training takes"):
        plan(memory="1.5GB")
    with pytest.raises(MiramError, match="kind cross with a low share"):
        plan(memory="1GB")


def test_a_contrast_of_the_whole_batch_is_not_split():
    whole = plan("moco", memory="12GB", effective_batch=64)
    assert (whole.batch_size, whole.accumulation) == (64, 1)
    with pytest.raises(MiramError, match=r"all 4096 samples .* set training\.effective_batch to"):
        plan("moco", memory="3GB", effective_batch=4096)


def test_a_budget_goes_into_the_recipe_and_leaves_the_step_as_it_was():
    recipe = TrainingConfig(epochs=1, batch_size="auto", effective_batch=512, memory="3GB")
    budget = plan(memory="3GB")
    applied = budget.applied(recipe)
    assert applied.samples_per_step == 512
    assert applied.portion == budget.batch_size
    assert applied.activation_checkpointing == budget.activation_checkpointing


def test_training_with_batch_size_auto_is_training():
    small = AUTOENCODER.model_copy(update={"decoder_dim": 32})
    crops = np.random.default_rng(0).integers(0, 65_536, (8, 128, 128), dtype=np.uint16)
    weights = []
    for batch_size in (4, "auto"):
        model = small.build(ENCODER, seed=0)
        recipe = TrainingConfig(
            epochs=1, batch_size=batch_size, effective_batch=4, precision="fp32", device="cpu"
        )
        train(model, crops, 128, recipe)
        weights.append(model.state_dict())
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())
