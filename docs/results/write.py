"""Write the tables of a results page from a finished study.

    python docs/results/write.py data_real docs/results/real_small.md

What stands between the two marks of the page is renewed, and a sheet of reconstructions is drawn
beside it. The first task of the study is the main one; differences are paired and against the
untrained encoder, then against HOG, which was named beforehand.
"""

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from miram.commands.results.compare import Compared, Protocol, compare_study
from miram.errors import MiramError
from miram.evaluation.config import AssessmentConfig
from miram.files import atomic_path, versions_of
from miram.models.methods import BASELINES, METHODS

BEGIN, END = "<!-- begin: results -->", "<!-- end: results -->"
REFERENCES = ("random", "hog")


def main(data_root: Path, page: Path) -> None:
    """Renew the page and draw its sheet."""
    metrics = read_metrics(data_root)
    tasks = list(metrics["random"]["tasks"])
    sheet = page.with_suffix(".webp")
    parts = [
        *(task_part(data_root, metrics, task) for task in tasks),
        efficiency_part(data_root, tasks[0]),
        controls_part(data_root),
        reconstructions_part(data_root, sheet),
    ]
    renew(page, "\n\n".join(part for part in parts if part))


def renew(page: Path, text: str) -> None:
    """Put a text between the two marks of a page."""
    before, begin, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise MiramError(f"{page} has no lines {BEGIN!r} and {END!r} to write between")
    with atomic_path(page) as temporary:
        temporary.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}", encoding="utf-8")


def read_metrics(data_root: Path) -> dict[str, dict]:
    """The newest metrics of each method and baseline, in the order of the reports."""
    outputs = data_root / "07_model_output"
    newest = {name: versions_of(outputs / name / "metrics.json") for name in (*METHODS, *BASELINES)}
    return {
        name: json.loads(paths[-1].read_text(encoding="utf-8"))
        for name, paths in newest.items()
        if paths
    }


def task_part(data_root: Path, metrics: dict[str, dict], task: str) -> str:
    """Every method and baseline on a task, with its differences."""
    entries = {name: found["tasks"][task] for name, found in metrics.items()}
    found = [compared(data_root, list(entries), task, reference) for reference in REFERENCES]
    rows = []
    for name, entry in entries.items():
        metric = entry["metrics"][found[0].metric]
        repeats = metric.get("by_repeat", [])
        spread = f"{min(repeats):.3f}-{max(repeats):.3f}" if repeats else ""
        differences = [difference(one, name) for one in found]
        estimate = f"{metric['estimate']:.3f} ({metric['lower']:.3f} to {metric['upper']:.3f})"
        rows.append((name, estimate, spread, *differences))
    first = entries["random"]
    columns = (found[0].metric, "single repeats", *(f"minus {name}" for name in REFERENCES))
    title = f"## {task}: {first['lesions']} lesions of {first['patients']} patients"
    return f"{title}\n\n{table(('features', *columns), rows)}"


def compared(data_root: Path, names: list[str], task: str, reference: str) -> Compared:
    """All trained methods against a reference; Holm counts these."""
    methods = tuple(name for name in names if name in METHODS and name != reference)
    comparison = {"comparison": {"reference": reference}}
    config = AssessmentConfig.model_validate(comparison)
    return compare_study(data_root, methods, task, config, Protocol.linear)


def difference(found: Compared, name: str) -> str:
    """A paired difference with interval and p after Holm; empty for the reference."""
    for row in found.comparisons:
        if row.method == name:
            p = "< 0.001" if row.p_holm < 0.001 else f"{row.p_holm:.3f}"
            return f"{row.difference:+.3f} ({row.lower:+.3f} to {row.upper:+.3f}), p {p}"
    return ""


def efficiency_part(data_root: Path, task: str) -> str:
    """The main task with fewer labeled patients, where that was asked."""
    rows, shares = [], []
    for name in METHODS:
        path = data_root / "07_model_output" / name / "label_efficiency.csv"
        found = pd.read_csv(path) if path.is_file() else pd.DataFrame()
        if found.empty:
            continue
        found = found[(found["task"] == task) & (found["metric"].isin(["auc", "auc_macro"]))]
        shares = [f"{share:.0%} of patients" for share in found["share"]]
        cells = [
            f"{row.estimate:.3f}"
            + (f" ({row.lower:.3f} to {row.upper:.3f})" if row.draws > 1 else "")
            for row in found.itertuples()
        ]
        rows.append((name, *cells))
    if not rows:
        return ""
    title = f"## {task} with fewer labels\n\nMean and range of 95 % of the draws of patients."
    return f"{title}\n\n{table(('features', *shares), rows)}"


def controls_part(data_root: Path) -> str:
    """Permuted labels and blank pixels, for the methods that they were run for."""
    rows = []
    for name in METHODS:
        path = data_root / "07_model_output" / name / "controls.json"
        for control, one in json.loads(path.read_text()).items() if path.is_file() else ():
            ends = f"{one['lower']:.3f} to {one['upper']:.3f}"
            about = f"{one['lesions']} lesions of {one['patients']} patients"
            what = f"{one['metric']} of {one['task']}"
            rows.append(
                (name, control.replace("_", " "), what, f"{one['estimate']:.3f} ({ends})", about)
            )
    if not rows:
        return ""
    columns = ("features", "control", "metric", "estimate (95 %)", "n")
    return f"## Where there is nothing to find\n\n{table(columns, rows)}"


def reconstructions_part(data_root: Path, sheet: Path, crops: int = 3, size: int = 128) -> str:
    """A row per crop and scale: target, what was hidden, and each method's reconstruction."""
    found = {}
    for name in METHODS:
        path = data_root / "06_models" / name / "reconstructions.npz"
        if path.is_file():
            with np.load(path) as arrays:
                found[name] = {key: arrays[key] for key in arrays.files if "scale" in key}
    found = {name: arrays for name, arrays in found.items() if arrays}
    if not found:
        return ""
    scales = sorted({key.split("_")[0] for arrays in found.values() for key in arrays})
    first = next(iter(found))
    tiles = []
    for crop in range(crops):
        for scale in scales:
            shown = [name for name in found if f"{scale}_target" in found[name]]
            columns = [found[shown[0]][f"{scale}_{part}"][crop] for part in ("target", "masked")]
            columns += [
                found[name][f"{scale}_prediction"][crop]
                if name in shown
                else np.full_like(columns[0], 255)
                for name in found
            ]
            low, high = np.percentile(columns[0], (1, 99))
            tiles.append([stretched(tile, low, high) for tile in columns])
    grid = Image.new("L", (len(tiles[0]) * size, len(tiles) * size), 255)
    for row, columns in enumerate(tiles):
        for column, tile in enumerate(columns):
            image = Image.fromarray(tile).resize((size - 2, size - 2), Image.Resampling.BILINEAR)
            grid.paste(image, (column * size, row * size))
    grid.save(sheet, quality=80)
    names = ", ".join(found)
    scales_named = " and ".join(scale.removeprefix("scale") for scale in scales)
    return (
        f"## Reconstructions\n\nThe first {crops} crops of {first}'s record, at scale "
        f"{scales_named}: target, what the encoder saw, then {names}.\n\n"
        f"![Reconstructions]({sheet.name})"
    )


def stretched(image: np.ndarray, low: float, high: float) -> np.ndarray:
    """Grey levels from `low` to `high` spread over all of a picture's."""
    return (np.clip((image - low) / max(high - low, 1), 0, 1) * 255).astype(np.uint8)


def table(columns: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """A table in Markdown."""
    lines = [columns, ("---",) * len(columns), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
