"""The benchmark of attentions: what is counted, what is measured, what is compared."""

import numpy as np
import pandas as pd
import pytest
import torch

from miram.errors import MiramError
from miram.models.attention import ATTENTIONS, softmax_attention
from miram.models.attention.base import TokenGrid
from miram.models.attention_benchmark import (
    AttentionBenchmarkConfig,
    Cost,
    Heads,
    counted,
    crossover,
    decoder_heads,
    distance_from_softmax,
    measure,
    measure_attention,
)
from miram.models.encoder import EncoderConfig
from miram.models.methods.masked_autoencoder import MaskedAutoencoderConfig

SMALL = AttentionBenchmarkConfig(dim=32, heads=2, grids=(4, 8), precisions=("fp32",), seconds=0.01)


def row(kind, tokens=65, step="training", kernel="", precision="fp32"):
    return Cost(kind, kernel, tokens, precision, step)


@pytest.mark.parametrize("kind", ATTENTIONS)
def test_every_attention_can_be_counted_without_computing(kind):
    kept, flops = counted(row(kind, 785, kernel="flash" if kind == "softmax" else ""), SMALL)
    assert kept > 0
    assert flops > 6 * 785 * 32 * 4 * 32  # forward and backward of the projections alone


def test_operations_and_memory_of_materialized_softmax_are_those_of_its_formula():
    tokens, dim, heads = 785, 32, 2
    products = 2 * (4 * tokens * dim**2 + 2 * tokens**2 * dim)
    assert counted(row("math", tokens, "forward"), SMALL) == (0, products)
    kept, _ = counted(row("math", tokens), SMALL)
    matrix = 4 * heads * tokens**2
    assert matrix < kept < 1.5 * matrix


def test_half_precision_keeps_about_half():
    full, half = (counted(row("math", 785, precision=one), SMALL)[0] for one in ("fp32", "bf16"))
    assert 0.4 < half / full < 0.75


def test_a_measured_row_has_times_memory_and_share():
    found = measure(row("nystrom"), SMALL)
    assert found.note == ""
    assert 0 < found.ms_low <= found.ms <= found.ms_high
    assert found.runs >= 3
    assert 0 < found.share < 2
    assert found.peak_mib >= 0


def test_what_memory_does_not_hold_is_left_out_with_a_note():
    wide = SMALL.model_copy(update={"batch": 10**9})
    kept, _ = counted(row("math"), wide)
    assert kept < 1e6  # of one image; no tensor of the batch is made to find out
    found = measure(row("math"), wide)
    assert found.note.startswith("needs ")
    assert found.runs == 0


def test_settings_that_do_not_fit_a_small_grid_are_a_note():
    found = measure(row("linformer", 17), SMALL)
    assert found.note.startswith("linformer.length 128 is above the 17 tokens")
    assert distance_from_softmax("linformer", heads_of(4)) is None


def test_a_kernel_that_the_device_lacks_is_a_note():
    found = measure(row("softmax", kernel="efficient"), SMALL.model_copy(update={"device": "cpu"}))
    assert found.note == "the device has no such kernel"


@pytest.mark.slow
def test_softmax_is_measured_as_it_chooses_and_by_kernel_at_every_size_in_processes_of_their_own():
    found = measure_attention("softmax", SMALL.model_copy(update={"grids": (4,)}))
    assert list(found["kernel"]) == ["", "flash", "efficient", "formula"] * 2
    assert (found["tokens"] == 17).all()
    assert found.loc[found["kernel"] == "flash", "ms"].gt(0).all()


def test_a_kind_that_does_not_exist_is_refused_by_name():
    with pytest.raises(MiramError, match=r"no 'nystroem': choose among softmax, .*nystrom"):
        AttentionBenchmarkConfig.model_validate({"kinds": ["nystroem"]})


def test_the_crossover_is_the_size_from_which_on_a_kind_is_always_below_the_best_kernel():
    exact = {65: (9.0, 4.0), 257: (20.0, 16.0), 1025: (80.0, 90.0)}
    rows = [
        ("softmax", kernel, tokens, ms)
        for tokens, both in exact.items()
        for kernel, ms in zip(("flash", "formula"), both, strict=True)
    ]
    rows += [("early", "", 65, 1.0), ("early", "", 257, 1.0), ("early", "", 1025, 1.0)]
    rows += [("late", "", 65, 1.0), ("late", "", 257, 17.0), ("late", "", 1025, 79.0)]
    rows += [("never", "", 65, 1.0), ("never", "", 257, 1.0), ("never", "", 1025, 81.0)]
    table = pd.DataFrame(rows, columns=["kind", "kernel", "tokens", "ms"])
    table = table.assign(precision="fp32", step="training")
    found = crossover(table, "ms", "ms").set_index("kind")
    assert found["from_tokens"].fillna(0).to_dict() == {"early": 65, "late": 1025, "never": 0}


def test_a_tie_is_no_crossover():
    rows = [("softmax", 9.9, 9.5, 10.3), ("tied", 9.6, 9.4, 9.8), ("faster", 9.2, 9.1, 9.4)]
    table = pd.DataFrame(rows, columns=["kind", "ms", "ms_low", "ms_high"])
    found = crossover(table.assign(precision="fp32", step="training", tokens=197))
    assert found.set_index("kind")["from_tokens"].fillna(0).to_dict() == {"tied": 0, "faster": 197}


def heads_of(side=14):
    q, k, v = torch.randn(3, 2, 2, 1 + side**2, 16, generator=torch.Generator().manual_seed(0))
    return Heads(q, k, v, TokenGrid(1, (side, side)))


def test_exact_attentions_have_no_distance_and_approximations_have_one():
    found = {kind: distance_from_softmax(kind, heads_of()) for kind in ATTENTIONS}
    assert (found["math"] < 1e-6).all()
    assert (found["softmax"] == 0).all()
    assert (found["performer"] > 0.01).all()
    assert (found["nystrom"] > 0.01).all()  # without its convolution
    assert found["gated_conv"] is None  # its filters are learned
    assert all(
        one is None or (one.shape == (2,) and np.isfinite(one).all()) for one in found.values()
    )


def test_heads_of_a_decoder_are_those_that_its_attention_mixes():
    config = MaskedAutoencoderConfig.model_validate(
        {
            "decoder_dim": 16,
            "decoders": [
                {"scale": 1, "attention": {"kind": "softmax"}, "depth": 1, "heads": 2},
                {"scale": 2, "attention": {"kind": "softmax"}, "depth": 2, "heads": 2},
            ],
        }
    )
    encoder = EncoderConfig(
        name="vit_tiny_patch16_224",
        image_size=32,
        patch_size=8,
        overrides={"embed_dim": 24, "num_heads": 2, "depth": 1},
    )
    model = config.build(encoder, seed=0).eval()
    mixed = []
    first = model.decoders[-1].blocks[0].attn
    handle = first.proj.register_forward_pre_hook(lambda _, inputs: mixed.append(inputs[0]))
    found = decoder_heads(model, torch.randint(0, 2**16, (3, 64, 64)).to(torch.uint16))
    handle.remove()
    assert found.grid.size == (8, 8)
    expected = softmax_attention(found.q, found.k, found.v).transpose(1, 2).flatten(2)
    torch.testing.assert_close(expected, mixed[0], rtol=0, atol=1e-6)
