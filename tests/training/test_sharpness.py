"""Sharpness-aware minimization against its definition, and within a training."""

import pytest
import torch
from tiny import assert_same, stripes
from torch import nn

from miram.models.encoder import EncoderConfig
from miram.models.methods.masked_autoencoder import MaskedAutoencoderConfig
from miram.training.config import TrainingConfig
from miram.training.loop import train
from miram.training.optimizer import OptimizerConfig
from miram.training.sharpness import uphill

ENCODER = EncoderConfig(
    name="vit_tiny_patch16_224", image_size=16, patch_size=4, overrides={"depth": 1}
)
LOW = {"scale": 1, "attention": {"kind": "softmax"}, "depth": 1, "heads": 2}
METHOD = MaskedAutoencoderConfig(decoder_dim=32, decoders=(LOW,))
PLAIN = {"base_lr": 1e-2, "warmup_epochs": 0.5}


def run(batch_size=8, **optimizer):
    """One epoch of eight samples a step: the model and its losses."""
    training = TrainingConfig(
        epochs=1,
        batch_size=batch_size,
        effective_batch=8,
        log_every=2,
        precision="fp32",
        device="cpu",
        optimizer=OptimizerConfig(**{**PLAIN, **optimizer}),
    )
    model = METHOD.build(ENCODER, 0)
    return model, train(model, stripes(), 16, training).history["loss"].tolist()


def model_with_gradients():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))
    model[0].bias.requires_grad_(False)  # a frozen weight stays where it is
    inputs = torch.randn(8, 3)
    model(inputs).square().mean().backward()
    return model, inputs


@pytest.mark.parametrize("scale", [1.0, 65_536.0])
def test_weights_move_by_the_radius_along_the_whole_gradient(scale):
    model, _ = model_with_gradients()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    gradient = torch.cat([w.grad.flatten() for w in model.parameters() if w.grad is not None])
    for weight in model.parameters():
        if weight.grad is not None:
            weight.grad *= scale  # as the scaler of fp16 does
    with uphill(model, 0.25):
        trained = [name for name, value in model.named_parameters() if value.requires_grad]
        moved = torch.cat([(model.state_dict()[n] - before[n]).flatten() for n in trained])
        torch.testing.assert_close(moved, 0.25 * gradient / gradient.norm())
        assert torch.equal(model[0].bias, before["0.bias"])
        assert torch.is_grad_enabled()
    assert_same(model.state_dict(), before)


def test_weights_are_back_where_the_second_pass_fails_or_is_not_finite():
    model, _ = model_with_gradients()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model[2].weight.grad[0, 0] = torch.inf
    with pytest.raises(RuntimeError, match="no memory"), uphill(model, 0.1):
        raise RuntimeError("no memory")
    assert_same(model.state_dict(), before)


def test_a_training_takes_the_gradients_from_uphill_whatever_the_micro_batches():
    (plain, _), (sharp, losses) = run(), run(sharpness=0.1)
    assert not torch.equal(plain.embed.weight, sharp.embed.weight)
    parts, found = run(batch_size=2, sharpness=0.1)
    for name, value in sharp.state_dict().items():
        torch.testing.assert_close(parts.state_dict()[name], value, atol=2e-4, rtol=0)
    assert found == pytest.approx(losses, rel=1e-3)


def test_the_loss_that_is_logged_is_that_of_the_weights_themselves():
    still = {"base_lr": 1e-12, "weight_decay": 0, "warmup_epochs": 0}
    assert run(**still)[1] == run(**still, sharpness=5.0)[1]
