import json
import random
import signal
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from project_paths import PROJECT
from tiny import CROPS, ENCODER, METHOD, assert_same
from tiny import TRAINING as CONFIG

from miram.errors import MiramError
from miram.models.methods.supervised import SupervisedConfig, class_weights
from miram.training.checkpointing.folder import TrainingFolder, read_state, write_state
from miram.training.checkpointing.interruption import TrainingInterrupted
from miram.training.checkpointing.manager import Checkpoints, start_afresh_once
from miram.training.logging.telemetry import Validation
from miram.training.loop import train
from miram.training.optimizer import OptimizerConfig


@pytest.fixture
def keep(tmp_path):
    return Checkpoints(TrainingFolder(tmp_path / "training"), {"data_digest": "abc"})


def run(keep=None, validate=None, **changes):
    model = METHOD.build(ENCODER, 0)
    config = CONFIG.model_copy(update=changes)
    history = train(model, CROPS, 16, config, checkpoints=keep, validate=validate).history
    return model.state_dict(), history


def stop_after(epoch, number=signal.SIGTERM):
    """Send a signal to this process at the end of an epoch."""
    seen = []

    def validate(model):
        seen.append(1)
        if len(seen) == epoch:
            signal.raise_signal(number)
        return Validation({"seen": float(len(seen))})

    return validate


def interrupt(keep, epoch, **changes):
    """Begin a training that a signal ends after an epoch."""
    with pytest.raises(TrainingInterrupted):
        run(keep, validate=stop_after(epoch), validate_every=1, **changes)


@pytest.mark.parametrize(("method", "kills"), [("performer", 10), ("moco", 2)])
def test_a_training_killed_at_any_step_ends_with_the_weights_of_an_uninterrupted_one(
    tmp_path, method, kills
):
    steps = sorted(random.Random(kills).sample(range(1, 15), kills))
    script = PROJECT / "tests/helpers/killed_training.py"
    command = [sys.executable, script, tmp_path, method, *map(str, steps)]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    found = json.loads(run.stdout.splitlines()[-1])
    assert found["statuses"] == [-signal.SIGKILL] * kills
    assert found["resumed"] == found["straight"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_training_with_its_state_kept(keep, number):
    expected, history = run(validate=None)
    with pytest.raises(TrainingInterrupted, match=r"after step 4 of 8.*same command resumes") as it:
        run(keep, validate=stop_after(2, number), validate_every=1)
    assert it.value.exit_code == 128 + number
    assert keep.folder.unfinished
    found, resumed = run(keep, validate=lambda model: Validation(), validate_every=1)
    assert_same(found, expected)
    assert resumed["loss"].tolist() == history["loss"].tolist()
    assert not keep.folder.unfinished


def test_the_metrics_of_validation_join_the_history(keep):
    _, history = run(validate=stop_after(99), validate_every=2)
    assert history.loc[[3, 7], "seen"].tolist() == [1.0, 2.0]


def test_the_newest_states_stay_and_a_damaged_one_is_passed_over(keep):
    expected, _ = run()
    interrupt(keep, 3)
    older, newest = sorted(keep.folder.path.glob("*.pt"))
    assert (older.name, newest.name) == ("step-000000004.pt", "step-000000006.pt")
    newest.write_bytes(newest.read_bytes()[:1000])
    found, _ = run(keep)
    assert_same(found, expected)


def test_other_settings_are_refused_with_their_names(keep):
    interrupt(keep, 1)
    with pytest.raises(MiramError, match=r"training\.optimizer\.base_lr: was 0\.01, is 0\.02"):
        run(keep, optimizer=OptimizerConfig(base_lr=0.02, warmup_epochs=1))
    with pytest.raises(MiramError, match="data_digest: was abc, is xyz"):
        run(replace(keep, identity={"data_digest": "xyz"}))
    run(keep, log_every=2, batch_size=4, effective_batch=8)  # what changes no weight may differ
    assert not keep.folder.unfinished


def test_resume_false_starts_afresh(keep):
    interrupt(keep, 1)
    _, history = run(keep, resume=False, seed=3)
    assert history["step"].tolist() == list(range(1, 9))


def test_afresh_is_once_so_that_workers_that_start_again_resume(keep):
    part = replace(keep, folder=keep.folder.part("fold1"))
    for kept in (keep, part):
        interrupt(kept, 1)
    config, _ = start_afresh_once(CONFIG.model_copy(update={"resume": False}), keep.folder)
    assert not keep.folder.unfinished and not part.folder.unfinished
    interrupt(part, 2, resume=config.resume)
    assert start_afresh_once(config, keep.folder)[0].resume
    expected, _ = run()
    again, _ = run(part, resume=config.resume)
    assert_same(again, expected)
    assert part.folder.finished.exists()


def test_a_finished_training_is_taken_as_it_is(keep):
    first, history = run(keep)
    finished = keep.folder.finished.stat().st_mtime_ns
    second, again = run(keep)
    assert_same(first, second)
    assert again.equals(history)  # rates included: no step was taken
    assert keep.folder.finished.stat().st_mtime_ns == finished


def test_a_signal_in_the_last_validation_loses_neither_the_average_nor_the_end(keep):
    expected, history = run(ema_decay=0.9)
    with pytest.raises(TrainingInterrupted, match="after step 8 of 8"):
        run(keep, validate=stop_after(4), validate_every=1, ema_decay=0.9)
    assert keep.folder.unfinished
    found, resumed = run(keep, ema_decay=0.9)
    assert_same(found, expected)
    assert resumed["loss"].tolist() == history["loss"].tolist()
    assert keep.folder.finished.exists() and not keep.folder.unfinished


def test_after_a_start_afresh_the_message_names_the_command_that_resumes(keep):
    reported = r"; the same command without training\.resume=false resumes from there"
    with pytest.raises(TrainingInterrupted, match=reported):
        run(keep, validate=stop_after(2), validate_every=1, resume=False)
    _, folder = start_afresh_once(CONFIG.model_copy(update={"resume": False}), keep.folder)
    assert not folder.unfinished
    # As a pipeline gives it to its workers, where the training goes on.
    part = replace(keep, folder=folder.part("fold1"))
    with pytest.raises(TrainingInterrupted, match=reported):
        run(part, validate=stop_after(2), validate_every=1)
    expected, _ = run()
    again = replace(keep, folder=keep.folder.part("fold1"))
    assert_same(run(again)[0], expected)


def test_a_damaged_result_is_trained_again(keep, caplog):
    expected, _ = run(keep)
    whole = keep.folder.finished.read_bytes()
    keep.folder.finished.write_bytes(whole[: len(whole) // 2])
    found, _ = run(keep)
    assert_same(found, expected)
    assert "finished.pt cannot be read" in caplog.text
    assert "trained again" in caplog.text
    assert len(keep.folder.finished.read_bytes()) == len(whole)


def test_a_training_resumes_in_the_precision_that_auto_stood_for(keep):
    interrupt(keep, 2, precision="auto")
    (newest, *_) = sorted(keep.folder.path.glob("step-*.pt"), reverse=True)
    state = read_state(newest)
    own = state["precision"]
    other = "fp32" if own == "bf16" else "bf16"
    write_state(newest, {**state, "precision": other})  # as another machine would have written it
    with pytest.raises(MiramError, match=rf"training\.precision: was {other}, is {own}\. Give the"):
        run(keep, precision="auto")
    run(keep, precision=other)  # the way out that is named
    assert read_state(keep.folder.finished)["precision"] == other


def test_a_result_is_taken_whatever_auto_stands_for_here(keep):
    expected, _ = run(keep, precision="auto")
    state = read_state(keep.folder.finished)
    write_state(keep.folder.finished, {**state, "precision": "fp16"})
    written = keep.folder.finished.stat().st_mtime_ns
    assert_same(run(keep, precision="auto")[0], expected)
    assert keep.folder.finished.stat().st_mtime_ns == written


def test_a_finished_training_gives_way_to_other_settings(keep):
    run(keep)
    _, history = run(keep, epochs=2)
    assert history["step"].tolist() == [1, 2, 3, 4]


def test_a_folder_that_cannot_be_written_to_is_reported_before_training(tmp_path):
    (tmp_path / "file").write_text("in the way")
    keep = Checkpoints(TrainingFolder(tmp_path / "file" / "training"), {})
    with pytest.raises(MiramError, match=r"cannot keep its state in .* choose a folder"):
        run(keep)


def test_the_average_of_the_weights_is_the_result():
    plain, _ = run()
    averaged, _ = run(ema_decay=0.99)
    fresh = METHOD.build(ENCODER, 0).state_dict()
    name = "embed.weight"
    moved, less = (plain[name] - fresh[name]).norm(), (averaged[name] - fresh[name]).norm()
    assert 0 < less < 0.2 * moved


def test_micro_batches_give_the_weights_of_the_whole_step():
    whole, history = run()
    parts, pieces = run(batch_size=3, effective_batch=8)
    np.testing.assert_allclose(pieces["loss"], history["loss"], rtol=1e-5)
    for name, value in whole.items():
        torch.testing.assert_close(parts[name], value, atol=2e-4, rtol=0)


def test_micro_batches_of_unequal_classes_give_the_weights_of_the_whole_step():
    labels = (np.arange(len(CROPS)) % 5 == 0).astype(np.int64)
    found = []
    for portion in (8, 3, 1):
        weights = class_weights(labels, 2)
        model = SupervisedConfig().build_classifier(ENCODER, 0, weights, several=False)
        config = CONFIG.model_copy(update={"batch_size": portion, "effective_batch": 8})
        history = train(model, CROPS, 16, config, labels=labels).history
        found.append((model.state_dict(), history["loss"]))
    (whole, losses), *others = found
    for state, pieces in others:
        np.testing.assert_allclose(pieces, losses, rtol=1e-5)
        for name, value in whole.items():
            torch.testing.assert_close(state[name], value, atol=2e-4, rtol=0)


def test_activation_checkpointing_gives_the_same_weights():
    assert_same(run(activation_checkpointing=True)[0], run()[0])


def test_deterministic_training_leaves_the_setting_as_it_was():
    assert_same(run(deterministic=True)[0], run()[0])
    assert not torch.are_deterministic_algorithms_enabled()


def test_training_leaves_the_random_numbers_of_the_caller_alone():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    run()
    assert torch.equal(torch.rand(3), expected)
