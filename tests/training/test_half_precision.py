"""fp16 with a scaled loss, as older GPUs train: here on the CPU, which computes the same."""

import numpy as np
import pytest
import torch
from tiny import ENCODER, METHOD, TRAINING
from torch import nn

from miram.errors import MiramError
from miram.models.methods.masked_autoencoder import MaskedAutoencoderOutput
from miram.training import loop
from miram.training.checkpointing.folder import TrainingFolder
from miram.training.checkpointing.manager import Checkpoints
from miram.training.loop import train

CROPS = np.random.default_rng(0).integers(0, 65_536, (40, 16, 16), dtype=np.uint16)
CONFIG = TRAINING.model_copy(update={"epochs": 6})


@pytest.fixture
def scaler(monkeypatch):
    """accelerate scales on a GPU only; everything else here is what runs there."""
    scaler = torch.amp.GradScaler("cpu")
    plain = loop.make_accelerator

    def accelerator(config):
        made = plain(config)
        made.state._mixed_precision = "fp16"
        made.scaler, made.native_amp = scaler, True
        return made

    monkeypatch.setattr(loop, "make_accelerator", accelerator)
    return scaler


class Steep(nn.Module):
    """A loss whose gradient overflows fp16 once it is scaled by much."""

    def __init__(self, steepness=1000.0, bad_from=None):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(4))
        self.steepness, self.bad_from, self.step = steepness, bad_from, 0
        self.seen = []

    def on_step(self, step, total):
        self.step = step
        self.seen.append(self.weight.detach().clone())

    def forward(self, images):
        half = (self.weight * images.mean().abs()).half() * self.steepness
        loss = half.float().mean()
        if self.bad_from is not None and self.step >= self.bad_from:
            loss = loss + (0 * self.weight.sum()).sqrt()  # finite, with a gradient that is none
        return MaskedAutoencoderOutput(loss, {}, (), images)


def test_every_step_computes_in_fp16(scaler):
    kinds = set()
    model = METHOD.build(ENCODER, 0)
    model.encoder.blocks[0].mlp.fc1.register_forward_hook(lambda *call: kinds.add(call[2].dtype))
    history = train(model, CROPS, 16, CONFIG).history
    assert kinds == {torch.float16}
    assert all(weight.dtype == torch.float32 for weight in model.parameters())
    exact = METHOD.build(ENCODER, 0)
    plain = train(exact, CROPS, 16, CONFIG.model_copy(update={"precision": "fp32"}))
    assert history["loss"].iloc[-1] == pytest.approx(plain.history["loss"].iloc[-1], rel=0.05)


def test_a_step_that_overflows_is_left_out_and_the_scale_is_halved(scaler):
    model = Steep()
    history = train(model, CROPS, 16, CONFIG).history
    left_out = int(history["overflow"].sum())
    assert 0 < left_out < len(history)
    assert scaler.get_scale() == 65_536 / 2**left_out
    first = history["overflow"].to_numpy() == 1
    assert first[:left_out].all()
    assert torch.equal(model.seen[left_out], model.seen[0])
    assert not torch.equal(model.seen[left_out + 1], model.seen[0])


def test_an_overflow_leaves_no_gap_in_the_mean_of_the_gradient_norms(scaler):
    history = train(Steep(), CROPS, 16, CONFIG.model_copy(update={"log_every": 30})).history
    (row,) = history.to_dict("records")
    assert 0 < row["overflow"] < 1
    assert np.isfinite(row["gradient_norm"])


def test_a_gradient_that_no_scale_cures_stops_the_training(scaler, tmp_path):
    keep = Checkpoints(TrainingFolder(tmp_path), {})
    with pytest.raises(MiramError, match=r"norm nan at step 23; .*precision=fp32"):
        train(Steep(1.0, bad_from=2), CROPS, 16, CONFIG, checkpoints=keep)


def test_the_scale_resumes_where_it_stood(scaler, tmp_path, monkeypatch):
    whole = Steep()
    train(whole, CROPS, 16, CONFIG)

    class Killed(Exception):
        pass

    class Dying(Steep):
        def on_step(self, step, total):
            super().on_step(step, total)
            if step == 17:
                raise Killed

    keep = Checkpoints(TrainingFolder(tmp_path), {})
    scaler.load_state_dict(torch.amp.GradScaler("cpu").state_dict())
    with pytest.raises(Killed):
        train(Dying(), CROPS, 16, CONFIG, checkpoints=keep)
    scaler.load_state_dict(torch.amp.GradScaler("cpu").state_dict())
    resumed = Steep()
    train(resumed, CROPS, 16, CONFIG, checkpoints=keep)
    assert len(resumed.seen) < len(whole.seen)
    assert torch.equal(resumed.weight, whole.weight)
