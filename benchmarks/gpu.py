"""What a GPU shows, in one run of twelve minutes.

    python benchmarks/gpu.py FILMS --page docs/results/gpu.md

FILMS are the mammograms and the lesions.csv of conf/real_small. In turn: the tests that need a GPU,
training steps of the paper's models, one layer of each attention by tokens, and for what is left of
the time a training on the lesions, which is evaluated. What fails or finds no time left says so on
the page, and the rest continues.
"""

import gc
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import pandas as pd
import torch
import typer

from miram.commands.results.compare import Protocol, compare_study
from miram.errors import MiramError
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
from miram.models.methods.kinds import methods_of
from miram.reporting.facts.words import Table, ends, markdown_table, number
from miram.training.config import TrainingConfig
from miram.training.device import find_device, make_accelerator, precision_of
from miram.training.loop import train

PROJECT = Path(__file__).parents[1]
TESTS = "tests/training/test_on_a_gpu.py"
STEPPED = ("mae", "miram_softmax", "miram_nystrom")
ATTENTIONS = ("softmax", "linformer", "performer", "nystrom")
TRAINED = "miram_softmax"
TASK = "pathology"


class Sizes(NamedTuple):
    """How large everything is."""

    env: str  # whose models take steps
    steps: int
    every: int  # steps between two times taken, of which the first is left out
    compiled: tuple[bool, ...]
    to_compile: float  # seconds that have to be left
    grids: tuple[int, ...]  # patches per side
    to_evaluate: float  # seconds left for cropping, features and probes
    most_epochs: int
    settings: str  # of the training on lesions, over conf/real_small


LARGE = Sizes(
    env="paper",
    steps=12,
    every=4,
    compiled=(False, True),
    to_compile=400,
    grids=(28, 56, 112),
    to_evaluate=180,
    most_epochs=500,
    settings="encoder.name=vit_small_patch16_224,encoder.patch_size=8,"
    "encoder.overrides.embed_dim=384,encoder.overrides.num_heads=6,encoder.overrides.depth=12,"
    "training.batch_size=256,training.precision=auto,evaluation.tasks=[pathology]",
)
SMALL = Sizes(
    env="test",
    steps=3,
    every=1,
    compiled=(False,),  # a minute for each on a CPU
    to_compile=0,
    grids=(12,),
    to_evaluate=0,
    most_epochs=2,
    settings="encoder.image_size=32,encoder.overrides.depth=1,rois.image_size=64,"
    "rois.backgrounds_per_image=1,splits.repeats=1,evaluation.bootstrap_draws=100,"
    "training.batch_size=4,evaluation.tasks=[pathology]",
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

    def run(self, *command: str) -> str:
        """Call Python in the time that is left; gives what it printed."""
        left = max(1.0, self.seconds_left)
        whole = [sys.executable, "-m", *command]
        found = subprocess.run(whole, capture_output=True, text=True, timeout=left)
        if found.returncode:
            said = (found.stdout + found.stderr)[-3000:]
            raise MiramError(f"{' '.join(command)} ended with {found.returncode}:\n{said}")
        return found.stdout


def tests(bench: Bench) -> str:
    """Run the tests that need a GPU."""
    *_, last = bench.run("pytest", TESTS, "-n", "0").strip().splitlines()
    if bench.device.type == "cuda" and "passed" not in last:
        raise MiramError(f"no test ran: {last}")
    return f"`python -m pytest {TESTS} -n 0`: {last}."


def steps(bench: Bench) -> str:
    """Take steps of the paper's models, with and without torch.compile."""
    sizes = bench.sizes
    parameters = load_parameters(sizes.env)
    rows = []
    for compiled in sizes.compiled:
        for name in STEPPED:
            how = "yes" if compiled else "no"
            if compiled and bench.seconds_left < sizes.to_compile:
                rows.append((name, how, "no time left", "", "", ""))
                continue
            try:
                speed = Speed.of(bench, parameters, name, compile=compiled)
            except Exception as error:  # without a compiler, say; what was measured is kept
                rows.append((name, how, f"FAILED: {type(error).__name__}: {error}", "", "", ""))
                continue
            share = f"{100 * speed.share:.0f} %"
            each = (f"{speed.images:.0f}", share, f"{speed.at_once}", f"{speed.peak_gb:.1f}")
            rows.append((name, how, *each))
    config = TrainingConfig.model_validate(parameters["training"])
    columns = ("method", "compiled", "images/s", "of the rate of products", "at once", "peak GB")
    return (
        f"Settings of `conf/{sizes.env}`, {config.samples_per_step} images a step, of which so "
        "many at once; with augmentation and all else that a training does. Precision "
        f"{precision(bench)}, in which one large product of matrices runs at "
        f"{product_rate(bench.device, precision(bench)) / 1e12:.3g} TFLOP/s.\n\n"
        f"{markdown_table(Table(columns, tuple(rows)))}"
    )


def precision(bench: Bench) -> str:
    """What `training.precision: auto` means on this device."""
    given = {"epochs": 1, "batch_size": 1, "device": str(bench.device)}
    return precision_of(make_accelerator(TrainingConfig.model_validate(given)))


class Speed(NamedTuple):
    """Of a training: images per second, peak memory, and the micro-batch."""

    images: float
    share: float  # of the rate of products
    peak_gb: float
    at_once: int

    @classmethod
    def of(cls, bench: Bench, parameters: dict[str, Any], name: str, **options: Any) -> "Speed":
        """Train a method of some parameters on random crops, each epoch one step."""
        gc.collect()  # an earlier training, whose memory would count here
        if bench.device.type == "cuda":
            torch.cuda.empty_cache()
        encoder = EncoderConfig.model_validate(parameters["encoder"])
        [method] = methods_of(parameters, name).values()
        given = {
            **parameters["training"],
            **options,
            "precision": "auto",
            "device": str(bench.device),
            "epochs": bench.sizes.steps,
            "log_every": bench.sizes.every,
            "validate_every": None,
        }
        given["optimizer"] = {**given["optimizer"], "warmup_epochs": 0}
        config = TrainingConfig.model_validate(given)
        side, batch = method.crop_size(encoder), config.samples_per_step
        crops = np.random.default_rng(0).integers(0, 65_536, (batch, side, side), np.uint16)
        found = train(method.without_files().build(encoder, 0), crops, side, config)
        warm = found.history.iloc[1:]  # the first row holds compilation
        images = float(warm["images_per_second"].median())
        # Forward, and backward twice as much, of a multiplication and an addition each.
        operations = 6 * sum(part.macs for part in describe(method, encoder))
        return cls(
            images,
            images * operations / product_rate(bench.device, precision(bench)),
            float(found.history["peak_memory_gb"].max()),
            found.facts["training"]["batch_size"],
        )


def attention(bench: Bench) -> str:
    """Forward and backward of one layer as wide as the paper's decoder."""
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
    sizes = bench.sizes
    table = pd.read_csv(bench.films / "lesions.csv")
    marks, films = len(table), table["image_path"].nunique()
    parameters = load_parameters("real_small", f"{sizes.settings},raw_root={bench.films}")
    crops = marks + films * parameters["rois"]["backgrounds_per_image"]
    speed = Speed.of(bench, parameters, TRAINED)
    fitting = int((bench.seconds_left - sizes.to_evaluate) * speed.images / crops)
    if fitting < 1:
        return "Not run: no time left."
    epochs = min(fitting, sizes.most_epochs)
    settings = (
        f"{sizes.settings},methods=random+{TRAINED},training.epochs={epochs},"
        f"training.optimizer.warmup_epochs={epochs / 10:g},training.device={bench.device}"
    )
    with tempfile.TemporaryDirectory() as folder:
        places = f"raw_root={bench.films},data_root={folder}"
        began = time.monotonic()
        bench.run("kedro", "run", "--env", "real_small", "--params", f"{settings},{places}")
        minutes = (time.monotonic() - began) / 60
        found = compare_study(Path(folder), (TRAINED,), TASK, AssessmentConfig(), Protocol.linear)
    [row] = found.comparisons
    return (
        f"`kedro run --env real_small --params raw_root=FILMS,data_root=data_gpu,{settings}`: "
        f"{minutes:.1f} minutes, {marks} lesions on {films} films, {epochs} epochs of about "
        f"{crops:,} crops. On {TASK}, {row.lesions} lesions of {row.patients} patients, "
        f"`{TRAINED}` differs from the untrained encoder by {row.difference:+.3f} ({ends(row)}) in "
        f"{found.metric}."
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
        f"# What a GPU shows\n\nWritten by `python benchmarks/gpu.py` on {date.today()}: "
        f"{where}, torch {torch.__version__}.\n\n{parts}\n"
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
    names = only.split("+")
    if unknown := set(names) - set(PARTS):
        raise typer.BadParameter(f"no part {min(unknown)}: choose among {', '.join(PARTS)}")
    deadline = time.monotonic() + 60 * minutes
    bench = Bench(SMALL if small else LARGE, find_device(device), films.resolve(), deadline)
    page_path = page_path and page_path.resolve()
    os.chdir(PROJECT)
    found: dict[str, str] = {}
    for name in names:
        try:
            found[name] = PARTS[name](bench)
        except Exception as error:  # time on a card is dear: the other parts are not lost
            found[name] = f"FAILED: {type(error).__name__}\n\n```\n{error}\n```"
        if page_path:
            page_path.write_text(page(bench, found), encoding="utf-8")
    typer.echo(page(bench, found))
    if any("FAILED: " in text for text in found.values()):
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
