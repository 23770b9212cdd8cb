import subprocess
import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tiny import ENCODER

from miram.errors import MiramError
from miram.models.methods.moco import MocoV3Config, contrast, momentum_at

METHOD = MocoV3Config(hidden=32, width=16)


def units(count=6, width=8, seed=0):
    values = torch.randn(count, width, generator=torch.Generator().manual_seed(seed))
    return F.normalize(values, dim=1)


def pairs(count=4):
    return torch.randn(count, 2, 1, 16, 16, generator=torch.Generator().manual_seed(0))


def test_the_loss_is_the_papers():
    queries, keys, temperature = units(seed=0), units(seed=1), 0.2
    scores = queries.double().numpy() @ keys.double().numpy().T / temperature
    own = np.diag(scores)
    expected = 2 * temperature * np.mean(np.log(np.exp(scores).sum(axis=1)) - own)
    assert float(contrast(queries, keys, temperature).loss) == pytest.approx(expected, rel=1e-5)


def test_keys_carry_no_gradient_and_the_patch_projection_stays_as_drawn():
    model = METHOD.build(ENCODER, seed=0)
    model(pairs()).loss.backward()
    without = {name for name, value in model.named_parameters() if value.grad is None}
    frozen = {f"encoder.patch_embed.proj.{part}" for part in ("weight", "bias")}
    following = {name for name, _ in model.named_parameters() if name.startswith("key_")}
    assert without == frozen | following | {"encoder.pos_embed"}


def test_the_patch_projection_can_be_trained():
    model = MocoV3Config(hidden=32, width=16, freeze_patches=False).build(ENCODER, seed=0)
    model(pairs()).loss.backward()
    assert model.encoder.patch_embed.proj.weight.grad.abs().sum() > 0


def test_momentum_rises_to_one_by_half_a_cosine():
    found = [momentum_at(step, 100, 0.99) for step in range(101)]
    assert found[0] == pytest.approx(0.99)
    assert found[50] == pytest.approx(0.995)
    assert found[100] == 1
    assert found == sorted(found)


def test_the_key_encoder_begins_as_a_copy_and_follows_by_steps_alone():
    model = METHOD.build(ENCODER, seed=0)
    before = model.key_encoder.blocks[0].mlp.fc1.weight.clone()
    assert torch.equal(before, model.encoder.blocks[0].mlp.fc1.weight)
    with torch.no_grad():
        model.encoder.blocks[0].mlp.fc1.weight.add_(1)
        model.projector[0].weight.add_(1)
    first = model.key_projector[0].weight.clone()
    model(pairs())
    assert torch.equal(model.key_encoder.blocks[0].mlp.fc1.weight, before)
    model.on_step(0, 10)
    moved = model.key_encoder.blocks[0].mlp.fc1.weight
    torch.testing.assert_close(moved, before + 0.01)
    torch.testing.assert_close(model.key_projector[0].weight, first + 0.01)
    assert torch.equal(model.key_encoder.norm.weight, model.encoder.norm.weight)


def test_views_go_through_normalization_apart_and_count_alike():
    model, images = METHOD.build(ENCODER, seed=0), pairs()
    found, swapped = model(images), model(images.flip(1))
    torch.testing.assert_close(found.loss, swapped.loss)
    torch.testing.assert_close(found.queries.flip(1), swapped.queries)
    other = images.clone()
    other[:, 1] *= 3
    assert torch.equal(model(other).queries[:, 0], found.queries[:, 0])


def test_heads_have_the_papers_layers():
    model = MocoV3Config().build(ENCODER, seed=0)
    for head, widths in ((model.projector, [4096, 4096, 256]), (model.predictor, [4096, 256])):
        linear = [part for part in head if isinstance(part, torch.nn.Linear)]
        norms = [part for part in head if isinstance(part, torch.nn.BatchNorm1d)]
        assert [part.out_features for part in linear] == widths
        assert not any(part.bias is not None for part in linear)
        assert [norm.affine for norm in norms] == [True] * (len(widths) - 1) + [False]


def test_pooling_patches_reads_other_tokens():
    by_cls, by_patches = (
        MocoV3Config(hidden=32, width=16, pooling=pooling).build(ENCODER, seed=0)(pairs())
        for pooling in ("cls", "patches")
    )
    assert not torch.allclose(by_cls.keys, by_patches.keys)


def test_bf16_gives_a_similar_loss():
    model = METHOD.build(ENCODER, seed=0)
    exact = model(pairs(16)).loss
    with torch.autocast("cpu", torch.bfloat16):
        coarse = model(pairs(16)).loss
    assert coarse.dtype == torch.float32
    torch.testing.assert_close(coarse, exact, rtol=0.05, atol=0)


def test_given_overrides_go_over_the_papers():
    config = MocoV3Config(optimizer={"base_lr": 1e-3}, augmentation={"blur": 0.0})
    assert config.optimizer == {"weight_decay": 0.1, "beta2": 0.999, "base_lr": 1e-3}
    assert config.augmentation == {"brightness": 0.2, "contrast": 0.4, "blur": 0.0}
    assert MocoV3Config.model_validate(config.model_dump()) == config


def test_a_batch_of_one_is_refused():
    with pytest.raises(MiramError, match=r"raise training\.batch_size"):
        METHOD.build(ENCODER, seed=0)(pairs(1))


PROCESS = """
import sys
import torch
import torch.distributed as dist
import torch.nn.functional as F
from miram.models.methods.moco import contrast

rank, folder = int(sys.argv[1]), sys.argv[2]
torch.set_num_threads(1)
dist.init_process_group("gloo", f"file://{folder}/meeting", rank=rank, world_size=2)
queries, keys = torch.load(f"{folder}/batch.pt")
mine = slice(4 * rank, 4 * rank + 4)
queries = queries[mine].requires_grad_()
found = contrast(queries, keys[mine], 0.2)
found.loss.backward()
torch.save((found.loss.detach(), queries.grad), f"{folder}/{rank}.pt")
dist.destroy_process_group()
"""


@pytest.mark.slow
def test_two_processes_contrast_with_the_global_batch(tmp_path):
    queries, keys = units(8, seed=0), units(8, seed=1)
    torch.save((queries, keys), tmp_path / "batch.pt")
    running = [
        subprocess.Popen([sys.executable, "-c", PROCESS, str(rank), str(tmp_path)])
        for rank in range(2)
    ]
    assert [process.wait() for process in running] == [0, 0]
    losses, gradients = zip(
        *(torch.load(tmp_path / f"{rank}.pt") for rank in range(2)), strict=True
    )
    whole = contrast(queries.requires_grad_(), keys, 0.2)
    whole.loss.backward()
    torch.testing.assert_close(torch.stack(losses).mean(), whole.loss.detach())
    torch.testing.assert_close(torch.cat(gradients) / 2, queries.grad)
