import json
import logging
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import CROPS, ENCODER, METHOD
from tiny import TRAINING as CONFIG
from torch import nn
from typer.testing import CliRunner

from miram.commands.app import app
from miram.errors import MiramError
from miram.models.methods.masked_autoencoder import MaskedAutoencoderOutput
from miram.training.checkpointing.folder import TrainingFolder
from miram.training.checkpointing.manager import Checkpoints
from miram.training.logging.telemetry import Validation
from miram.training.loop import train
from miram.training.nonfinite import FILE, examine, load_step, take_again
from miram.training.optimizer import OptimizerConfig


class Diverging(nn.Module):
    """Weights that a too great learning rate throws out of the range of float32."""

    def __init__(self, bad_steps):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(4))
        self.square = nn.Identity()
        self.bad_steps, self.step = bad_steps, 0

    def on_step(self, step, total):
        self.step = step

    def forward(self, images):
        scale = 1e30 if self.step in self.bad_steps else 1.0
        values = self.square((scale * self.weight * images.mean()) ** 2)
        return MaskedAutoencoderOutput(values.mean(), {}, (), images)


def overflowing():
    """A real model whose first block overflows, and a batch."""
    model = METHOD.build(ENCODER, 0)
    with torch.no_grad():
        model.encoder.blocks[0].mlp.fc2.weight.fill_(3e38)
    images, noise = torch.randn(2, 1, 16, 16), torch.rand(2, model.noise_width)
    return model, {"images": images, "noise": noise}


def test_the_first_module_whose_output_is_not_finite_is_named():
    model, batch = overflowing()
    finding = examine(model, [batch], 0, "no")
    assert not finding.finite
    assert finding.where == "output of encoder.blocks.0.mlp.fc2 (Linear)"


def test_a_gradient_that_is_not_finite_is_found_where_it_begins():
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.last = nn.Linear(1, 1, bias=False), nn.Identity()

        def forward(self, images):
            hidden = self.first(images.flatten()[:, None])
            root = self.last(hidden * 0).sqrt()  # at 0 the gradient of a root is infinite
            return MaskedAutoencoderOutput(root.mean(), {}, (), images)

    finding = examine(Model(), [{"images": torch.ones(2)}], 0, "no")
    assert np.isfinite(finding.loss)
    assert finding.where == "gradient at last (Identity)"


def test_weights_and_inputs_that_were_not_finite_before_are_named_first():
    model, batch = overflowing()
    batch["images"][0, 0, 0, 0] = torch.nan
    finding = examine(model, [batch], 0, "no")
    assert finding.where == "input images"
    assert "miram verify" in finding.advice("no")
    with torch.no_grad():
        model.embed.bias[0] = torch.inf
    assert examine(model, [batch], 0, "no").where == "weight embed.bias, before the step"


def test_a_finite_step_is_said_to_be_finite():
    model = METHOD.build(ENCODER, 0)
    batch = {"images": torch.randn(2, 1, 16, 16), "noise": torch.rand(2, model.noise_width)}
    finding = examine(model, [batch], 0, "no")
    assert finding.finite
    assert finding.gradient_norm > 0


def test_training_stops_within_the_step_and_keeps_it_for_replay(tmp_path):
    keep = Checkpoints(TrainingFolder(tmp_path), {})
    model = Diverging({3})
    with pytest.raises(MiramError, match=r"at step 4; first at: .*before the step") as error:
        train(model, CROPS, 16, CONFIG, checkpoints=keep)
    assert model.weight.isfinite().all()
    folder = Path(re.search(r"miram replay (\S+)`", str(error.value)).group(1))
    kept = load_step(folder)
    assert (kept.step, len(kept.indices)) == (3, 8)
    assert torch.equal(kept.model["weight"], model.weight)
    assert torch.equal(kept.crops, torch.from_numpy(CROPS[kept.indices]))


class Recording(nn.Module):
    """Keeps what it is called with, and has no finite loss."""

    views, noise_width, needs_labels = 2, 3, True

    def __init__(self):
        super().__init__()
        self.weight, self.batches = nn.Parameter(torch.ones(1)), []

    def forward(self, **batch):
        self.batches.append(batch)
        loss = (self.weight * batch["images"].mean() * torch.nan).sum()
        return MaskedAutoencoderOutput(loss, {}, (), batch["images"])


@pytest.mark.parametrize("cache", ["device", "host"])
def test_a_step_is_made_again_from_its_number_and_its_crops(tmp_path, cache):
    keep, model = Checkpoints(TrainingFolder(tmp_path), {}), Recording()
    split = {"batch_size": 3, "effective_batch": 8, "crop_cache": cache}
    config = CONFIG.model_copy(update=split)
    with pytest.raises(MiramError):
        train(model, CROPS, 8, config, labels=np.arange(20), checkpoints=keep)
    (folder,) = tmp_path.glob("nonfinite-step-*")
    again = Recording()
    assert not take_again(load_step(folder), again).finite
    assert len(again.batches) == 3
    for taken, made in zip(model.batches, again.batches, strict=True):
        assert taken.keys() == made.keys() == {"images", "noise", "labels"}
        assert all(torch.equal(value, made[name]) for name, value in taken.items())


def test_a_step_that_diverged_is_reproduced_by_the_command(tmp_path):
    dumped = {"encoder": ENCODER, "method": METHOD}
    identity = {name: config.model_dump(mode="json") for name, config in dumped.items()}
    keep = Checkpoints(TrainingFolder(tmp_path), identity)
    rates = OptimizerConfig(base_lr=1e6, warmup_epochs=0)
    config = CONFIG.model_copy(update={"epochs": 30, "optimizer": rates})
    with pytest.raises(MiramError, match=r"Lower training\.optimizer\.base_lr") as error:
        train(METHOD.build(ENCODER, 0), CROPS, 16, config, checkpoints=keep)
    (folder,) = tmp_path.glob("nonfinite-step-*")
    result = CliRunner().invoke(app, ["replay", str(folder), "--json"])
    assert result.exit_code == 1
    reported = json.loads(result.stdout)
    assert reported["where"] in str(error.value)
    assert f"step {reported['step']};" in str(error.value)
    assert "start afresh with training.resume=false" in str(error.value)
    assert "advice: Lower" in CliRunner().invoke(app, ["replay", str(folder)]).stdout


def test_skip_leaves_steps_out_and_counts_them(caplog):
    plain, skipping = Diverging(set()), Diverging({2, 5})
    config = CONFIG.model_copy(update={"on_nan": "skip"})
    train(plain, CROPS, 16, config)
    with caplog.at_level(logging.WARNING):
        history = train(skipping, CROPS, 16, config).history
    assert skipping.weight.isfinite().all()
    assert history["step"].tolist() == [1, 2, 4, 5, 7, 8]
    assert "Step left out (2 so far)" in caplog.text


@pytest.mark.parametrize(
    ("bad_steps", "limits", "last"),
    [({1, 3, 4}, {"max_skips": 2}, 5), (set(range(4)), {"epochs": 2}, 4)],
)
def test_skip_ends_when_too_many_steps_are_bad_or_all_of_them(bad_steps, limits, last):
    config = CONFIG.model_copy(update={"on_nan": "skip", **limits})
    with pytest.raises(MiramError, match=f"at step {last}"):
        train(Diverging(bad_steps), CROPS, 16, config)


def test_steps_left_out_are_in_the_history_whatever_their_place():
    skip = CONFIG.model_copy(update={"on_nan": "skip"})
    every = train(Diverging({2, 7}), CROPS, 16, skip).history
    assert every["skipped"].tolist() == [0, 0, 1, 1, 1, 2]
    rare = train(Diverging({2, 7}), CROPS, 16, skip.model_copy(update={"log_every": 100})).history
    assert rare[["step", "skipped"]].values.tolist() == [[8, 2]]
    assert np.isfinite(rare["loss"]).all()
    assert "skipped" not in train(Diverging(set()), CROPS, 16, CONFIG).history


def test_a_validation_after_a_last_step_that_was_left_out_is_in_the_history():
    skip = CONFIG.model_copy(update={"on_nan": "skip", "validate_every": 4})
    seen = Validation({"seen": 1.0})
    found = train(Diverging({7}), CROPS, 16, skip, validate=lambda model: seen).history
    assert found["seen"].tolist()[-1] == 1.0


class Normed(nn.Module):
    """Running means, which a forward pass changes whatever the optimizer does then."""

    def __init__(self, bad_steps):
        super().__init__()
        self.norm, self.bad_steps, self.step = nn.BatchNorm2d(1), bad_steps, 0

    def on_step(self, step, total):
        self.step = step

    def forward(self, images):
        images = images * torch.inf if self.step in self.bad_steps else images
        return MaskedAutoencoderOutput(self.norm(images).square().mean(), {}, (), images)


def test_a_step_left_out_leaves_running_means_as_they_were():
    skip = CONFIG.model_copy(update={"on_nan": "skip"})
    model = Normed({3})
    train(model, CROPS, 16, skip)
    assert model.norm.running_mean.isfinite().all() and model.norm.running_var.isfinite().all()
    assert int(model.norm.num_batches_tracked) == 7


@pytest.mark.parametrize("on_nan", ["skip", "stop"])
def test_a_step_that_cannot_be_kept_for_replay_is_reported_all_the_same(tmp_path, caplog, on_nan):
    (tmp_path / "nonfinite-step-000000004").write_text("in the way")
    keep = Checkpoints(TrainingFolder(tmp_path), {})
    config = CONFIG.model_copy(update={"on_nan": on_nan})
    reported = r"at step 4; first at: .*; the step could not be kept for `miram replay` \(.*Exists?"
    if on_nan == "skip":
        assert len(train(Diverging({3}), CROPS, 16, config, checkpoints=keep).history) == 7
        assert re.search(reported, caplog.text, re.IGNORECASE)
    else:
        with pytest.raises(MiramError, match=f"(?i){reported}"):
            train(Diverging({3}), CROPS, 16, config, checkpoints=keep)


def test_a_folder_without_a_step_is_refused(tmp_path):
    with pytest.raises(MiramError, match=rf"there is no {FILE}"):
        load_step(tmp_path)
    (tmp_path / FILE).write_bytes(b"nothing")
    with pytest.raises(MiramError, match="cannot be read"):
        load_step(tmp_path)
