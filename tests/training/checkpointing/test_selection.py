"""The best state by a metric of validation is the result, whatever came after it."""

import signal

import pytest
import torch
from tiny import CROPS, ENCODER, METHOD, TRAINING
from torch import nn

from miram.errors import MiramError
from miram.training.checkpointing.folder import TrainingFolder
from miram.training.checkpointing.interruption import TrainingInterrupted
from miram.training.checkpointing.manager import BestWeights, Checkpoints
from miram.training.config import TrainingConfig, identity_of
from miram.training.logging.telemetry import Validation
from miram.training.loop import train

CONFIG = TRAINING.model_copy(update={"epochs": 3, "validate_every": 1})


def weights_of(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def run(values, **changes):
    """Train while a metric takes the values given; the weights at each validation, and the last."""
    seen = []

    def validate(model):
        seen.append(weights_of(model))
        return Validation({"metric": values[len(seen) - 1]})

    model = METHOD.build(ENCODER, 0)
    train(model, CROPS, 16, CONFIG.model_copy(update=changes), validate=validate)
    return seen, model.state_dict()


def equal(first, second):
    return all(torch.equal(value, second[name]) for name, value in first.items())


@pytest.mark.parametrize("ema", [None, 0.5])
def test_the_best_weights_that_were_validated_are_the_result(ema):
    seen, result = run([0.2, 0.8, 0.8], select="metric", ema_decay=ema)
    assert equal(result, seen[1])
    assert not equal(result, seen[2])


@pytest.mark.parametrize("ema", [None, 0.5])
def test_a_signal_in_the_last_validation_loses_no_selection(tmp_path, ema):
    seen, expected = run([0.2, 0.8, 0.4], select="metric", ema_decay=ema)
    keep = Checkpoints(TrainingFolder(tmp_path), {})
    values = iter([0.2, 0.8, 0.4])

    def validate(model):
        value = next(values)
        if value == 0.4:
            signal.raise_signal(signal.SIGTERM)
        return Validation({"metric": value})

    config = CONFIG.model_copy(update={"select": "metric", "ema_decay": ema})
    with pytest.raises(TrainingInterrupted, match="after step 6 of 6"):
        train(METHOD.build(ENCODER, 0), CROPS, 16, config, checkpoints=keep, validate=validate)
    model = METHOD.build(ENCODER, 0)
    history = train(model, CROPS, 16, config, checkpoints=keep, validate=validate).history
    assert equal(model.state_dict(), expected) and equal(expected, seen[1])
    assert history["metric"].dropna().tolist() == [0.2, 0.8, 0.4]


@pytest.mark.parametrize("ema", [None, 0.5])
def test_what_is_validated_is_in_evaluation_mode_and_training_continues_in_its_own(ema):
    modes, steps = [], []

    def validate(model):
        modes.append({part.training for part in model.modules()})
        return Validation()

    model = METHOD.build(ENCODER, 0)
    model.encoder.blocks[0].register_forward_pre_hook(
        lambda block, inputs: steps.append(block.training)
    )
    train(model, CROPS, 16, CONFIG.model_copy(update={"ema_decay": ema}), validate=validate)
    assert modes == [{False}] * 3
    assert steps == [True] * 6


def test_the_last_weights_are_the_result_unless_a_metric_is_named():
    seen, result = run([0.9, 0.1, 0.2])
    assert equal(result, seen[2])
    selected, _ = run([0.9, 0.1, 0.2], select="metric")
    assert all(equal(one, other) for one, other in zip(seen, selected, strict=True))


def test_a_metric_that_is_not_a_number_is_never_the_best():
    selection, model = BestWeights("metric"), nn.Linear(2, 2)
    selection.offer(model, {"metric": float("nan")}, 1)
    with pytest.raises(MiramError, match="no validation gave a number for 'metric'"):
        selection.load_into(model)
    selection.offer(model, {"metric": -3.0}, 2)
    with torch.no_grad():
        model.weight.add_(1)
    selection.offer(model, {"metric": float("nan")}, 3)
    expected = model.weight - 1
    selection.load_into(model)
    torch.testing.assert_close(model.weight, expected)
    assert selection.step == 2


def test_a_metric_that_nothing_gives_is_refused_with_those_there_are():
    with pytest.raises(MiramError, match=r"gives no metric 'auc'.*or to one of metric"):
        run([0.1], select="auc")


def test_selecting_needs_validation_whose_rhythm_becomes_a_part_of_the_identity():
    with pytest.raises(MiramError, match="select metric needs validate_every"):
        TrainingConfig.model_validate(
            CONFIG.model_dump() | {"select": "metric", "validate_every": 4}
        )
    rare = CONFIG.model_copy(update={"validate_every": 3})
    assert identity_of(rare) == identity_of(CONFIG)
    first, second = (each.model_copy(update={"select": "metric"}) for each in (rare, CONFIG))
    assert identity_of(first) != identity_of(second)


def test_of_equals_the_one_with_the_least_loss_is_taken():
    selection, model = BestWeights("metric"), nn.Linear(1, 1)
    losses = {1: 0.7, 2: 0.3, 3: 0.5, 4: 0.3}
    for step, loss in losses.items():
        nn.init.constant_(model.weight, step)
        selection.offer(model, {"metric": 1.0, "validation_log_loss": loss}, step)
    selection.offer(model, {"metric": 0.9, "validation_log_loss": 0.1}, 5)
    again = BestWeights("metric")
    again.load_state(selection.state())
    again.offer(model, {"metric": 1.0, "validation_log_loss": 0.4}, 6)
    again.load_into(model)
    assert (again.step, model.weight.item()) == (2, 2.0)
