"""Speed of training against what others do: `make bench`."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from clock import processor_seconds
from small import AUGMENTATION, BATCH, small_mae, small_training
from textbook import TextbookMAE
from textbook import train as textbook_train
from torch import Tensor, nn
from transformers import ViTMAEConfig, ViTMAEForPreTraining

from miram.models.encoder import EncoderConfig
from miram.models.methods.masked_autoencoder import MaskedAutoencoderConfig
from miram.training.data.augmentation import DRAWS, augment
from miram.training.loop import train

STEPS = 40
BASE = EncoderConfig(name="vit_base_patch16_224", image_size=224, patch_size=16, pixels="imagenet")
PAPER_LOW = {"scale": 1, "attention": {"kind": "softmax"}, "depth": 8, "heads": 16}
PAPER_HIGH = {"scale": 2, "depth": 8, "heads": 16, "loss_on": "all"}


def test_default_training_against_a_textbook_loop(benchmark, take_turns):
    """The settings of conf/base on the same crops, with the same augmentation."""
    crops = np.random.default_rng(0).integers(0, 65_536, (BATCH * STEPS, 128, 128), np.uint16)
    config, model = small_training(), small_mae()
    plain = TextbookMAE(64, 8, (96, 4, 3), (64, 2, 4), 0.6)

    def batches() -> Iterator[Tensor]:
        for rows in torch.randperm(len(crops)).split(BATCH):
            images = augment(torch.from_numpy(crops)[rows], torch.rand(BATCH, DRAWS), AUGMENTATION)
            images = images - images.mean((1, 2, 3), keepdim=True)
            images = images / images.std((1, 2, 3), keepdim=True)
            yield nn.functional.avg_pool2d(images, 2)

    found = take_turns(
        {
            "plain": lambda: textbook_train(plain, batches()),
            "ours": lambda: train(model, crops, 64, config),
        }
    )
    benchmark.extra_info["ratio_textbook_loop"] = found["plain"] / found["ours"]
    benchmark.extra_info["images_per_processor_second"] = len(crops) / found["ours"]


_TRAINING = """
import time
import numpy as np
from small import small_mae, small_training
from miram.training.loop import train
crops = np.random.default_rng(0).integers(0, 65_536, (640, 128, 128), np.uint16)
train(small_mae(), crops[:64], 64, small_training())
started = time.perf_counter()
train(small_mae(), crops, 64, small_training())
print(640 / (time.perf_counter() - started))
"""


@pytest.mark.parametrize("threads", [1, os.cpu_count() or 1], ids=["one_thread", "all_cores"])
def test_training_on_a_crowded_machine(benchmark, threads):
    """One thread is the default; as many programs as cores never rest beside it."""
    cores = os.cpu_count() or 1

    def rate() -> float:
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
        run, here = [sys.executable, "-c", _TRAINING], Path(__file__).parent
        found = subprocess.check_output(run, env=environment, text=True, cwd=here)
        return float(found.split()[-1])

    quiet = rate()
    others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(cores)]
    try:
        crowded = benchmark.pedantic(rate, rounds=1)
    finally:
        for one in others:
            one.kill()
            one.wait()
    benchmark.extra_info["images_per_second_alone"] = quiet
    benchmark.extra_info["images_per_second_crowded"] = crowded
    share = cores / (cores + threads)  # of a core, for each thread and each program
    benchmark.extra_info["ratio_fair_share"] = crowded / (quiet * share)


def stepper(
    model: nn.Module, loss: Callable[[], Tensor], precision: str, steps: int
) -> Callable[[], None]:
    """Some steps: forward, backward, fused AdamW."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, fused=True)

    def run() -> None:
        for _ in range(steps):
            with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
                value = loss()
            value.backward()
            optimizer.step()
            optimizer.zero_grad()

    return run


def of_paper_size(decoders: list[dict], images: Tensor, precision: str, steps: int):
    method = MaskedAutoencoderConfig.model_validate({"decoder_dim": 512, "decoders": decoders})
    model = method.build(BASE, 0)
    noise = torch.rand(len(images), model.noise_width)
    return stepper(model, lambda: model(images, noise).loss, precision, steps)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_mae_of_vit_base_against_transformers(benchmark, take_turns, precision):
    images = torch.randn(8, 1, 224, 224)
    configuration = ViTMAEConfig(num_channels=1, norm_pix_loss=True, attn_implementation="sdpa")
    theirs = ViTMAEForPreTraining(configuration)
    found = take_turns(
        {
            "theirs": stepper(theirs, lambda: theirs(images).loss, precision, 2),
            "ours": of_paper_size([PAPER_LOW], images, precision, 2),
        }
    )
    benchmark.extra_info["ratio_transformers"] = found["theirs"] / found["ours"]
    benchmark.extra_info["images_per_processor_second"] = 16 / found["ours"]
    # 57.7 GFLOP an image: forward and backward of all matrix products.
    rate = 16 * 57.7e9 / found["ours"]
    benchmark.extra_info["share_of_the_matrix_rate"] = rate / matrix_rate(precision)


def matrix_rate(precision: str) -> float:
    """Operations per processor second of a product of two large matrices, the best of five."""
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    one = torch.randn(2048, 2048, dtype=dtype)
    seconds = []
    for _ in range(5):
        started = processor_seconds()
        one @ one
        seconds.append(processor_seconds() - started)
    return 2 * 2048**3 / min(seconds)


HIGH = {
    "math": {"attention": {"kind": "math"}},
    "softmax": {"attention": {"kind": "softmax"}},
    "linformer": {"attention": {"kind": "linformer", "length": 128}},
    "performer": {"attention": {"kind": "performer"}},
    "nystrom": {"attention": {"kind": "nystrom"}},
    "cross": {"kind": "cross", "share": 0.25},
}


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize(
    ("kind", "against"), [*((kind, "math") for kind in list(HIGH)[1:]), ("cross", "nystrom")]
)
def test_miram_of_vit_base_by_high_resolution_decoder(
    benchmark, take_turns, kind, against, precision
):
    """224 to 448 pixels, batch 2; `math` is attention by its formula."""
    images = torch.randn(2, 1, 448, 448)
    work = {
        name: of_paper_size([PAPER_LOW, {**PAPER_HIGH, **HIGH[name]}], images, precision, 1)
        for name in (kind, against)
    }
    found = take_turns(work, rounds=2)
    benchmark.extra_info[f"ratio_{against}"] = found[against] / found[kind]
    benchmark.extra_info["images_per_processor_second"] = 2 / found[kind]
