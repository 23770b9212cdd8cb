"""Compare the ratios of a run of `make bench` with those kept, and write docs/performance.md.

python benchmarks/report.py build/benchmark.json           what fell by more than 15 %
python benchmarks/report.py build/benchmark.json --write   also the page and baseline.json
"""

import json
from datetime import date
from pathlib import Path
from typing import Annotated, NamedTuple

import torch
import typer

from miram.reporting.facts.words import Table, markdown_table

HERE = Path(__file__).parent
BASELINE, PAGE = HERE / "baseline.json", HERE.parent / "docs" / "performance.md"
RATIO = "ratio_"
TOLERATED = 0.85


class Goal(NamedTuple):
    """What a ratio is of, and what it should be at least."""

    name: str
    of: str
    goal: float


_MIRAM = "test_miram_of_vit_base_by_high_resolution_decoder"
_ROWS = "test_time_per_row_by_size"
GOALS = [
    Goal(
        "test_default_training_against_a_textbook_loop/textbook_loop",
        "default training of MAE: a plain loop with attention by its formula",
        1.0,
    ),
    Goal(
        "test_training_on_a_crowded_machine[one_thread]/fair_share",
        "default training beside as many busy programs as cores: its fair share of a quiet machine",
        0.6,
    ),
    Goal(
        "test_training_on_a_crowded_machine[all_cores]/fair_share",
        "training with a thread on each core, beside as many busy programs: its fair share of a "
        "quiet machine",
        0.6,
    ),
    Goal(
        "test_mae_of_vit_base_against_transformers[fp32]/transformers",
        "step of MAE, ViT-B/16, batch 8, fp32: `ViTMAEForPreTraining` of transformers",
        1.15,
    ),
    Goal(
        "test_mae_of_vit_base_against_transformers[bf16]/transformers",
        "the same in bf16",
        1.5,
    ),
    *(
        Goal(
            f"{_MIRAM}[{kind}-math-{precision}]/math",
            f"step of MIRAM, 224 to 448 pixels, {precision}, {kind}: attention by its formula",
            1.15 if precision == "fp32" else 1.5,
        )
        for precision in ("fp32", "bf16")
        for kind in ("softmax", "linformer", "performer", "nystrom", "cross")
    ),
    *(
        Goal(
            f"{_MIRAM}[cross-nystrom-{precision}]/nystrom",
            f"step of MIRAM in {precision}, cross decoder: Nyström",
            3.0,
        )
        for precision in ("fp32", "bf16")
    ),
    Goal(
        "test_fine_tuning_against_a_plain_loop/plain_loop", "fine-tuning: a plain PyTorch loop", 0.9
    ),
    *(
        Goal(
            f"test_cropping_against_pure_decoding[{data}]/decoding",
            f"cropping {films}: decoding the same files",
            0.9,
        )
        for data, films in (("phantom", "films of the phantom"), ("real", "real films"))
    ),
    Goal(
        "test_two_workers_against_one[phantom-cut]/one_worker", "cropping by two workers: one", 1.8
    ),
    Goal(
        "test_training_from_a_store_larger_than_memory/in_memory",
        "training from a store of 32 GB: from memory",
        0.95,
    ),
    *(
        Goal(f"{_ROWS}[{work}]/flat", f"time per row, {work}: 1,000 rows against 100,000", 0.9)
        for work in ("split", "store", "bootstrap")
    ),
]


def processor(run: dict) -> str:
    """The kind of processor a run was made on, and how it multiplies in bf16."""
    cpu = run["machine_info"]["cpu"]
    brand = cpu["brand_raw"].replace("(R)", "").removesuffix(" Processor")
    bf16 = {"amx_bf16": " with AMX", "avx512_bf16": " with AVX-512 bf16"}
    return brand + next((words for flag, words in bf16.items() if flag in cpu["flags"]), "")


def kept_of(run: dict) -> dict:
    """What is kept of a run: its date, and each number by benchmark and name."""
    found = {
        f"{one['name']}/{key}": float(f"{value:.3g}")
        for one in run["benchmarks"]
        for key, value in one["extra_info"].items()
    }
    return {"date": run["datetime"][:10], "torch": torch.__version__, "found": found}


def ratios(kept: dict) -> dict[str, float]:
    """Ratios by benchmark and name; above 1 is better than what it is compared with."""
    found = kept["found"].items()
    return {name.replace(RATIO, ""): value for name, value in found if f"/{RATIO}" in name}


def goals(kept: dict[str, dict]) -> Table:
    """The ratio of each goal by processor, and whether it is reached."""

    def cell(one: Goal, found: dict[str, float]) -> str:
        if one.name not in found:
            return ""
        value = found[one.name]
        return f"{value:.2f}, yes" if value >= one.goal else f"{value:.2f}, no"

    of = [ratios(run) for run in kept.values()]
    rows = [(one.of, f"{one.goal:g}", *(cell(one, found) for found in of)) for one in GOALS]
    return Table(("what: against what", "goal", *kept), tuple(rows))


def numbers(kept: dict[str, dict]) -> Table:
    """All else that was measured, by processor."""
    runs = [run["found"] for run in kept.values()]
    names = dict.fromkeys(name for run in runs for name in run if f"/{RATIO}" not in name)
    rows = [
        (
            *name.removeprefix("test_").replace("_", " ").split("/"),
            *(f"{run[name]:g}" if name in run else "" for run in runs),
        )
        for name in names
    ]
    return Table(("benchmark", "what", *kept), tuple(rows))


def page(kept: dict[str, dict]) -> str:
    """The page about speed."""
    machines = "\n".join(
        f"- {name}, {date.fromisoformat(run['date']):%B %-d, %Y}, torch {run['torch']}"
        for name, run in kept.items()
    )
    return f"""# Speed, measured against others

Written by `make bench`, one thread:

{machines}

Each ratio is of pieces of work that took turns in one process, by processor time, as machines are
shared; above 1 is better, and yes says that the goal is reached. What bounds the speed of a step:
[decision 023](decisions/023-speed-of-a-step.md).

{markdown_table(goals(kept))}

## All else that was measured

{markdown_table(numbers(kept))}

Attentions by size and kernel: [Which attention for which image size](results/attention.md). Every
node: [Time and memory by number of lesions](results/scale.md). What is not reached, and why:
[decision 032](decisions/032-goals-of-speed.md).
"""


def main(
    run: Path, write: Annotated[bool, typer.Option(help="Keep this run as the baseline.")] = False
) -> None:
    """Say which ratios fell by more than 15 % since the baseline of this kind of processor."""
    made = json.loads(run.read_text())
    name, new = processor(made), kept_of(made)
    kept = json.loads(BASELINE.read_text())
    found, before = ratios(new), ratios(kept[name]) if name in kept else {}
    if not before:
        typer.echo(f"no baseline of {name}: keep this run with --write")
    fell = {one: value for one, value in found.items() if value < TOLERATED * before.get(one, 0)}
    for one, value in fell.items():
        typer.echo(f"{one}: {value:.2f}, was {before[one]:.2f}")
    typer.echo(f"{len(found)} ratios, {len(fell)} fell by more than 15 %")
    if write:
        merged = {**kept.get(name, {"found": {}})["found"], **new["found"]}
        kept[name] = {**new, "found": dict(sorted(merged.items()))}
        BASELINE.write_text(json.dumps(kept, indent=2) + "\n")
        PAGE.write_text(page(kept))


if __name__ == "__main__":
    typer.run(main)
