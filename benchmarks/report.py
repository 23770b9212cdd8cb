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


def ratios(run: dict) -> dict[str, float]:
    """Ratios of a run by benchmark and name; above 1 is better than what it is compared with."""
    return {
        f"{one['name']}/{key.removeprefix(RATIO)}": value
        for one in run["benchmarks"]
        for key, value in one["extra_info"].items()
        if key.startswith(RATIO)
    }


def numbers(run: dict) -> Table:
    """All else that a run measured."""
    found = [
        (one["name"].removeprefix("test_").replace("_", " "), key.replace("_", " "), f"{value:.3g}")
        for one in run["benchmarks"]
        for key, value in one["extra_info"].items()
        if not key.startswith(RATIO)
    ]
    return Table(("benchmark", "what", "value"), tuple(found))


def goals(found: dict[str, float]) -> Table:
    """The goals that were measured, and whether they were reached."""
    rows = [
        (one.of, f"{found[one.name]:.2f}", one.goal, "yes" if found[one.name] >= one.goal else "no")
        for one in GOALS
        if one.name in found
    ]
    return Table(("what: against what", "ratio", "goal", "reached"), tuple(rows))


def page(run: dict) -> str:
    """The page about speed."""
    made, machine = date.fromisoformat(run["datetime"][:10]), run["machine_info"]["cpu"]
    return f"""# Speed, measured against others

Written by `make bench` on {made:%B %-d, %Y}: {machine["brand_raw"]}, one thread, torch
{torch.__version__}. Each ratio is of pieces of work that took turns in one process, by processor
time, as the machine is shared; above 1 is better. What bounds the speed of a step:
[decision 023](decisions/023-speed-of-a-step.md).

{markdown_table(goals(ratios(run)))}

## All else that was measured

{markdown_table(numbers(run))}

Attentions by size and kernel: [Which attention for which image size](results/attention.md). Every
node: [Time and memory by number of lesions](results/scale.md). What is not reached, and why:
[decision 032](decisions/032-goals-of-speed.md).
"""


def main(
    run: Path, write: Annotated[bool, typer.Option(help="Keep these as the baseline.")] = False
) -> None:
    """Say which ratios fell by more than 15 % since the baseline."""
    made = json.loads(run.read_text())
    found = ratios(made)
    kept = json.loads(BASELINE.read_text()) if BASELINE.is_file() else {}
    fell = {n: v for n, v in found.items() if n in kept and v < TOLERATED * kept[n]}
    for name, value in fell.items():
        typer.echo(f"{name}: {value:.2f}, was {kept[name]:.2f}")
    typer.echo(f"{len(found)} ratios, {len(fell)} fell by more than 15 %")
    if write:
        rounded = {name: round(value, 3) for name, value in sorted({**kept, **found}.items())}
        BASELINE.write_text(json.dumps(rounded, indent=2) + "\n")
        PAGE.write_text(page(made))


if __name__ == "__main__":
    typer.run(main)
