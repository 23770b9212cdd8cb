"""Time and memory of a study by its number of lesions: every node, from the table to the report.

    python benchmarks/scale.py 100 1000 10000 100000 --write

Each lesion has an image of its own and each patient two; images are small, as the cost of a row is
asked for and not that of its pixels. Nothing is trained: an untrained encoder is evaluated.
"""

import tempfile
import time
from datetime import date
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import psutil
import typer
from kedro.framework.hooks import hook_impl
from kedro.framework.project import settings
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project
from PIL import Image

from miram.reporting.facts.words import Table, markdown_table

PROJECT = Path(__file__).parents[1]
PAGE = PROJECT / "docs" / "results" / "scale.md"
SIDE = 64  # pixels of an image; the lesion is its middle
FILES = 50  # different images; the others are the same under other names
PARAMETERS = {
    "source": "image_table",
    "methods": "random",
    "sources": {"image_table": {"table": "lesions.csv"}},
    "engine": {"parallel_methods": 1},
    "encoder": {"image_size": 16},
    "rois": {"image_size": 32, "backgrounds_per_image": 0},
    "features": {"symmetries": 1},
    "evaluation": {"tasks": ["pathology"]},
}


class Watch:
    """Seconds and peak memory of each node by its name, loading and saving included."""

    def __init__(self) -> None:
        self.began: dict[str, float] = {}
        self.ended: dict[str, float] = {}
        self.peak: dict[str, float] = {}

    @hook_impl
    def before_dataset_loaded(self, node: Any) -> None:
        if node.name not in self.began:
            self.began[node.name] = time.perf_counter()
            Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far

    @hook_impl
    def after_dataset_saved(self, node: Any) -> None:
        self.ended[node.name] = time.perf_counter()
        lines = Path("/proc/self/status").read_text().splitlines()
        status = dict(line.split(":", 1) for line in lines)
        self.peak[node.name] = int(status["VmHWM"].split()[0]) / 1000  # kB -> MB


def write_images(root: Path, count: int) -> None:
    """Write a table of so many lesions and an image for each."""
    rng = np.random.default_rng(0)
    for row in range(count):
        path = root / f"{row}.png"
        if row < FILES:
            Image.fromarray(rng.integers(20_000, 60_000, (SIDE, SIDE), np.uint16)).save(path)
        else:
            path.hardlink_to(root / f"{row % FILES}.png")
    patient = np.arange(count) // 2
    table = pd.DataFrame(
        {
            "patient_id": [f"P{one:06d}" for one in patient],
            "image_path": [f"{row}.png" for row in range(count)],
            "pathology": rng.choice(["BENIGN", "MALIGNANT"], count)[patient],
            "laterality": "LEFT",
            "view": np.where(np.arange(count) % 2, "MLO", "CC"),
            **{f"box_{end}": SIDE // 4 for end in ("x0", "y0")},
            **{f"box_{end}": 3 * SIDE // 4 for end in ("x1", "y1")},
        }
    )
    table.to_csv(root / "lesions.csv", index=False)


def measure(count: int) -> Watch:
    """Run the study of so many lesions."""
    watch = Watch()
    settings.set("HOOKS", (*settings.HOOKS[:4], watch))
    with tempfile.TemporaryDirectory() as folder:
        raw = Path(folder) / "raw"
        raw.mkdir()
        write_images(raw, count)
        given = {**PARAMETERS, "raw_root": str(raw), "data_root": f"{folder}/data"}
        with KedroSession.create(PROJECT, runtime_params=given) as session:
            session.run()
    return watch


def page(found: dict[int, Watch]) -> str:
    """The page about size."""
    sizes = list(found)
    smallest, largest = sizes[0], sizes[-1]
    rows = []
    for name in found[largest].ended:
        seconds = [one.ended[name] - one.began[name] for one in found.values()]
        rows.append(
            (
                name,
                *(f"{1000 * took / size:.2f}" for size, took in zip(found, seconds, strict=True)),
                f"{seconds[-1]:.0f}",
                f"{found[smallest].peak[name]:.0f}",
                f"{found[largest].peak[name]:.0f}",
            )
        )
    costs = [f"ms per lesion, of {size:,}" for size in sizes]
    ends = [f"seconds of {largest:,}", f"peak MB, {smallest:,}", f"peak MB, {largest:,}"]
    return f"""# Time and memory by number of lesions

Written by `python benchmarks/scale.py {" ".join(map(str, found))} --write` on
{date.today():%B %-d, %Y}, {psutil.cpu_count()} cores: one image of {SIDE} pixels for each lesion,
two for each patient, crops of 32 pixels, an untrained encoder, one task, 2,000 bootstrap draws.
Each node with loading and saving; the peak is of its process, without those that decode and cut.

{markdown_table(Table(("node", *costs, *ends), tuple(rows)))}
"""


def main(
    sizes: list[int], write: Annotated[bool, typer.Option(help="Keep the page.")] = False
) -> None:
    """Measure the sizes one after another."""
    bootstrap_project(PROJECT)
    found = {size: measure(size) for size in sizes}
    typer.echo(page(found))
    if write:
        PAGE.write_text(page(found))


if __name__ == "__main__":
    typer.run(main)
