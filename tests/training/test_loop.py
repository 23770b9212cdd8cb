import logging
import os

import numpy as np
import psutil
import pytest
import torch
from tiny import assert_same, stripes
from torch import nn

from miram.errors import MiramError
from miram.models.encoder import EncoderConfig
from miram.models.methods.masked_autoencoder import MaskedAutoencoderConfig, MaskedAutoencoderOutput
from miram.training.config import TrainingConfig
from miram.training.data.augmentation import AugmentationConfig
from miram.training.device import find_device, make_accelerator
from miram.training.logging.telemetry import LOGGER
from miram.training.loop import train
from miram.training.optimizer import OptimizerConfig

ENCODER = EncoderConfig(
    name="vit_tiny_patch16_224", image_size=16, patch_size=4, overrides={"depth": 1}
)
METHOD = MaskedAutoencoderConfig(
    decoder_dim=32,
    decoders=(
        {"scale": 1, "attention": {"kind": "softmax"}, "depth": 1, "heads": 2},
        {"scale": 2, "attention": {"kind": "performer"}, "depth": 1, "heads": 2, "loss_on": "all"},
    ),
)


def config(**values):
    options = {"epochs": 2, "batch_size": 8, "log_every": 2, "precision": "fp32", "device": "cpu"}
    optimizer = OptimizerConfig(base_lr=1e-2, warmup_epochs=0.5)
    return TrainingConfig(**{**options, "optimizer": optimizer, **values})


def run(training, crops=None):
    model = METHOD.build(ENCODER, training.seed)
    crops = stripes() if crops is None else crops
    history = train(model, crops, METHOD.crop_size(ENCODER), training).history
    return model, history


def test_the_loss_falls():
    _, history = run(config(epochs=30, augmentation=AugmentationConfig(min_area=0.8)))
    assert history["loss"].iloc[-1] < 0.8 * history["loss"].iloc[0]


def test_the_same_command_twice_gives_the_same_weights():
    (first, _), (second, _) = run(config()), run(config())
    assert_same(first.state_dict(), second.state_dict())


def test_another_seed_gives_other_weights():
    (first, _), (second, _) = run(config()), run(config(seed=1))
    assert not torch.equal(first.embed.weight, second.embed.weight)


def test_history_has_a_row_per_logged_step_and_the_losses_of_each_decoder():
    _, history = run(config())
    assert history["step"].tolist() == [2, 4]
    assert history["epoch"].tolist() == [0, 1]
    total = history["loss_scale1"] + history["loss_scale2"]
    np.testing.assert_allclose(history["loss"], total, rtol=1e-5)
    assert (history["gradient_norm"] > 0).all()


@pytest.mark.slow
@pytest.mark.skipif(not os.access("/proc/self/clear_refs", os.W_OK), reason="Linux forgets peaks")
def test_the_peak_of_memory_is_the_trainings_own():
    run(config())  # what PyTorch makes once is there
    block = np.ones(60_000_000)  # 480 MB, as an earlier training may have taken
    taken = psutil.Process().memory_info().rss
    del block
    _, history = run(config())
    assert history["peak_memory_gb"].max() < taken / 1e9 - 0.2


def test_metrics_are_logged_while_training():
    heard, listener = [], logging.Handler()
    listener.emit = lambda record: heard.append((record.step, record.metrics))
    LOGGER.addHandler(listener)
    _, history = run(config())
    LOGGER.removeHandler(listener)
    assert [step for step, _ in heard] == history["step"].tolist()
    assert heard[0][1]["loss"] == history["loss"].iloc[0]


@pytest.mark.parametrize(
    ("settings", "side", "message"),
    [
        ({"batch_size": 64}, 32, r"lower training\.batch_size"),
        ({}, 40, r"set rois\.image_size to a multiple of 32"),
        ({"precision": "fp16"}, 32, r"set training\.precision to auto"),  # without a GPU
    ],
)
def test_what_cannot_be_trained_on_is_refused_with_what_to_change(settings, side, message):
    with pytest.raises(MiramError, match=message):
        run(config(**settings), crops=stripes(side=side))


@pytest.mark.parametrize(("precision", "expected"), [("fp32", "no"), ("bf16", "bf16")])
def test_the_precision_asked_for_is_used(precision, expected):
    assert make_accelerator(config(precision=precision)).mixed_precision == expected


class Looking(nn.Module):
    """Remembers the images that it is given."""

    def __init__(self):
        super().__init__()
        self.weight, self.seen = nn.Parameter(torch.ones(1)), []

    def forward(self, images):
        self.seen.append(images.clone())
        return MaskedAutoencoderOutput((self.weight * images.mean()).sum(), {}, (), images)


@pytest.mark.parametrize("asked", ["cuda", "cuda:1", "mps"])
def test_a_device_that_the_machine_lacks_is_named_with_those_it_has(asked, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(MiramError, match=rf"training\.device is {asked}, .* only cpu here"):
        make_accelerator(config(device=asked))


@pytest.mark.parametrize("asked", ["gpu", "cuda:", "cuda:x", "cpu:1"])
def test_a_word_that_is_no_device_is_refused(asked):
    with pytest.raises(MiramError, match="device: name auto, cpu, cuda, a GPU by its number"):
        TrainingConfig.model_validate({**config().model_dump(), "device": asked})


@pytest.mark.parametrize(
    ("asked", "expected"),
    [("auto", "cuda"), ("cuda", "cuda"), ("cuda:1", "cuda:1"), ("mps", "mps"), ("cpu", "cpu")],
)
def test_the_device_that_is_named_is_found(asked, expected, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert find_device(asked) == torch.device(expected)


def test_the_views_of_a_sample_are_the_same_in_every_precision():
    views = {}
    for precision in ("fp32", "bf16"):
        model = Looking()
        train(model, stripes(side=64), 64, config(precision=precision))
        views[precision] = torch.stack(model.seen)
    assert views["bf16"].dtype == torch.float32
    assert torch.equal(views["bf16"], views["fp32"])


def test_a_warm_up_that_takes_the_whole_training_is_warned_of(caplog):
    run(config(optimizer=OptimizerConfig(warmup_epochs=1)))
    assert "warm-up" not in caplog.text
    run(config(optimizer=OptimizerConfig(warmup_epochs=40)))
    assert "warm-up of 40 epochs takes the whole training of 2" in caplog.text


def test_bf16_trains_to_a_similar_loss():
    (_, exact), (_, coarse) = run(config()), run(config(precision="bf16"))
    np.testing.assert_allclose(coarse["loss"], exact["loss"], rtol=0.05)
