"""What a GPU shows, in one run of twelve minutes.

    python benchmarks/gpu.py FILMS --page docs/results/gpu.md

FILMS are the mammograms and the lesions.csv of conf/real_small. In turn: the tests that need a GPU,
training steps of the paper's models, one layer of each attention by tokens, and for what is left of
the time a training on the lesions, which is evaluated. A part that fails says so on the page, and
the others go on.
"""

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
import pandas as pd
import torch
import typer

from miram.commands.results.compare import Protocol, compare_study
from miram.evaluation.config import AssessmentConfig
from miram.integrations.parameters import load_parameters
from miram.models.attention_benchmark import (
    AttentionBenchmarkConfig,
    Cost,
    measure,
    product_rate,
)
from miram.models.describe import describe
from miram.models.encoder import EncoderConfig
from miram.models.methods.config import MethodConfig
from miram.models.methods.kinds import methods_of
from miram.reporting.facts.words import Table, ends, markdown_table, number
from miram.training.config import TrainingConfig
from miram.training.loop import train

PROJECT = Path(__file__).parents[1]
TESTS = "tests/training/test_on_a_gpu.py"
STEPPED = ("mae", "miram_softmax", "miram_nystrom")
ATTENTIONS = ("softmax", "linformer", "performer", "nystrom")
TRAINED = "miram_softmax"
TASK = "pathology"
TO_PROBE = 180  # seconds left for cropping, features and probes of the last part


class Sizes(NamedTuple):
    """How large everything is."""

    env: str  # whose models take steps
    batch: int
    steps: int
    every: int  # steps between two times taken, of which the first is left out
    compiled: tuple[bool, ...]
    grids: tuple[int, ...]  # patches per side
    lesions: str  # settings of the training on lesions, over conf/real_small


LARGE = Sizes(
    env="paper",
    batch=256,
    steps=12,
    every=4,
    compiled=(False, True),
    grids=(28, 56, 112),
    lesions="encoder.name=vit_small_patch16_224,encoder.patch_size=8,"
    "encoder.overrides.embed_dim=384,encoder.overrides.num_heads=6,encoder.overrides.depth=12",
)
SMALL = Sizes(
    env="test",
    batch=4,
    steps=3,
    every=1,
    compiled=(False,),  # a minute for each on a CPU
    grids=(12,),
    lesions="encoder.image_size=32,encoder.overrides.depth=1,rois.image_size=64,"
    "rois.backgrounds_per_image=1,splits.repeats=1,evaluation.bootstrap_draws=100,"
    "evaluation.tasks=[pathology],training.batch_size=4",
)


class Bench(NamedTuple):
    """What every part is given."""

    sizes: Sizes
    device: torch.device
    films: Path
    deadline: float  # of time.monotonic

    @property
    def seconds_left(self) -> float:
        """Until the whole is to be done."""
        return self.deadline - time.monotonic()


def tests(bench: Bench) -> str:
    """Run the tests that need a GPU."""
    command = [sys.executable, "-m", "pytest", TESTS, "-n", "0"]
    found = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True)
    *_, last = found.stdout.strip().splitlines()
    if found.returncode:
        raise RuntimeError(f"{last}\n{found.stdout[-3000:]}")
    return f"`python -m pytest {TESTS} -n 0`: {last}."


def steps(bench: Bench) -> str:
    """Take steps of the paper's models, with and without torch.compile."""
    sizes = bench.sizes
    parameters = load_parameters(sizes.env)
    encoder = EncoderConfig.model_validate(parameters["encoder"])
    rate = product_rate(bench.device, "bf16")
    rows = []
    for name in STEPPED:
        [method] = methods_of(parameters, name).values()
        # Forward, and backward twice as much, of a multiplication and an addition each.
        operations = 6 * sum(part.macs for part in describe(method, encoder))
        for compiled in sizes.compiled:
            speed, peak = step_speed(bench, method, encoder, compiled)
            share = f"{100 * speed * operations / rate:.0f} %"
            how = "yes" if compiled else "no"
            rows.append((name, how, f"{speed:.0f}", share, f"{peak:.1f}"))
    columns = ("method", "compiled", "images/s", "of the rate of products", "peak GB")
    return (
        f"Settings of `conf/{sizes.env}`, {sizes.batch} images a step, bf16, with "
        "augmentation and all else that a training does. One large product of matrices runs at "
        f"{rate / 1e12:.3g} TFLOP/s.\n\n{markdown_table(Table(columns, tuple(rows)))}"
    )


def step_speed(
    bench: Bench, method: MethodConfig, encoder: EncoderConfig, compiled: bool
) -> tuple[float, float]:
    """Images per second and peak memory in GB of a training of random crops."""
    sizes, side = bench.sizes, method.crop_size(encoder)
    crops = np.random.default_rng(0).integers(0, 65_536, (sizes.batch, side, side), np.uint16)
    config = TrainingConfig.model_validate(
        {
            "epochs": sizes.steps,  # each is one step
            "batch_size": sizes.batch,
            "precision": "bf16",
            "device": str(bench.device),
            "compile": compiled,
            "log_every": sizes.every,
            "optimizer": {"warmup_epochs": 0},
        }
    )
    history = train(method.without_files().build(encoder, 0), crops, side, config).history
    warm = history.iloc[1:]  # the first holds compilation
    return warm["images_per_second"].median(), history["peak_memory_gb"].max()


def attention(bench: Bench) -> str:
    """Forward and backward of one layer of the paper's decoder."""
    config = AttentionBenchmarkConfig(device=str(bench.device), seconds=0.3)
    found = [
        measure(Cost(kind, "", side**2 + 1, "bf16", "training"), config)
        for kind in ATTENTIONS
        for side in bench.sizes.grids
    ]
    rows = [
        (
            row.kind,
            f"{row.tokens:,}",
            *(number(value, 2) for value in (row.ms, row.kept_mib, row.peak_mib)),
            f"{100 * row.share:.0f} %" if np.isfinite(row.share) else row.note,
        )
        for row in found
    ]
    columns = ("attention", "tokens", "ms", "kept MiB", "peak MiB", "of the rate of products")
    return (
        f"One layer, {config.dim} wide, {config.heads} heads, {config.batch} image, bf16.\n\n"
        + markdown_table(Table(columns, tuple(rows)))
    )


def lesions(bench: Bench) -> str:
    """Train on the lesions for what is left of the time, and evaluate."""
    given = bench.sizes.lesions + ",training.precision=auto"
    parameters = load_parameters("real_small", f"{given},raw_root={bench.films}")
    encoder = EncoderConfig.model_validate(parameters["encoder"])
    [method] = methods_of(parameters, TRAINED).values()
    speed, _ = step_speed(bench, method, encoder, compiled=False)
    table = pd.read_csv(bench.films / "lesions.csv")
    films, marks = table["image_path"].nunique(), len(table)
    crops = marks + films * parameters["rois"]["backgrounds_per_image"]
    epochs = max(1, int((bench.seconds_left - TO_PROBE) * speed / crops))
    with tempfile.TemporaryDirectory() as folder:
        told = f"{given},methods=random+{TRAINED},training.epochs={epochs}"
        told += f",training.optimizer.warmup_epochs={epochs / 10:g}"
        told += f",training.device={bench.device},raw_root={bench.films},data_root={folder}"
        command = [sys.executable, "-m", "kedro", "run", "--env", "real_small", "--params", told]
        began = time.monotonic()
        found = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True)
        if found.returncode:
            raise RuntimeError(f"{' '.join(command)}\n{found.stdout[-3000:]}{found.stderr[-3000:]}")
        took = time.monotonic() - began
        result = compare_study(Path(folder), (TRAINED,), TASK, AssessmentConfig(), Protocol.linear)
    [row] = result.comparisons
    return (
        f"`kedro run --env real_small --params {given},training.epochs={epochs}`: "
        f"{took / 60:.1f} minutes, {marks} lesions on {films} films, {epochs} epochs of about "
        f"{crops:,} crops. On {TASK} `{TRAINED}` differs from the untrained encoder by "
        f"{row.difference:+.3f} ({ends(row)}) in {result.metric}, patients drawn anew."
    )


PARTS: dict[str, Callable[[Bench], str]] = {
    part.__name__: part for part in (tests, steps, attention, lesions)
}


def page(bench: Bench, found: dict[str, str]) -> str:
    """The page of all parts."""
    on_gpu = bench.device.type == "cuda"
    where = torch.cuda.get_device_name(bench.device) if on_gpu else "a CPU"
    parts = "\n\n".join(f"## {name.capitalize()}\n\n{text}" for name, text in found.items())
    return (
        "# What a GPU shows\n\nWritten by `python benchmarks/gpu.py` on "
        f"{date.today():%B %-d, %Y}: {where}, torch {torch.__version__}.\n\n{parts}\n"
    )


def main(
    films: Path,
    minutes: Annotated[float, typer.Option(help="for all parts together")] = 12,
    device: str = "cuda",
    small: Annotated[bool, typer.Option(help="Tiny models, to try the script.")] = False,
    only: Annotated[str, typer.Option(help="some parts, joined by +")] = "+".join(PARTS),
    page_path: Annotated[Path | None, typer.Option("--page", help="Keep the page here.")] = None,
) -> None:
    """Run the parts, print the page, and fail if a part did."""
    sizes = SMALL if small else LARGE
    deadline = time.monotonic() + 60 * minutes
    bench = Bench(sizes, torch.device(device), films.resolve(), deadline)
    found, failed = {}, []
    for name in only.split("+"):
        try:
            found[name] = PARTS[name](bench)
        except Exception as error:  # time on a card is dear: the other parts are not lost
            failed.append(name)
            found[name] = f"FAILED: {type(error).__name__}\n\n```\n{error}\n```"
        if page_path:
            page_path.write_text(page(bench, found))
    typer.echo(page(bench, found))
    if failed:
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
