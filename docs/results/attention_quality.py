"""Write what each attention gives and costs, from a finished `kedro run --env attention_sweep`.

    miram benchmark step --env attention_sweep --json > data/sweep/rates.json
    python docs/results/attention_quality.py data/sweep docs/results/attention_quality.md

Times are those of the first command, in which every method is trained alone. What stands between
the two marks of the page is renewed, and a plot is drawn beside it. Differences are paired, against
MAE and against MIRAM with softmax; Holm counts the attentions of a column.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.figure import Figure
from scipy import stats
from write import compared, difference, read_metrics, renew, table

from miram.evaluation.statistics.inputs import LEVEL
from miram.files import atomic_path
from miram.models.checkpoints.files import describe_checkpoint
from miram.models.methods import METHODS

REFERENCES = ("mae", "miram_softmax")
TASK = "pathology"
GIVEN = {  # decimals and heading of each metric with an interval
    "auc": (3, "AUC"),
    "psnr1": (2, "PSNR, dB, scale 1"),
    "psnr2": (2, "PSNR, dB, scale 2"),
    "more2": (2, "the same minus miram_softmax"),
    "ssim1": (3, "SSIM, scale 1"),
    "ssim2": (3, "SSIM, scale 2"),
}
COSTS = {  # likewise, of one image in training
    "ms": (2, "ms per image"),
    "kept_mib": (2, "kept for the backward pass, MiB per image"),
}


def main(data_root: Path, page: Path) -> None:
    """Renew the page and draw its plot."""
    costs = pd.read_csv(data_root / "08_reporting/costs.csv").drop_duplicates("method")
    kept = costs.set_index("method")["activation_mib"]
    timed = pd.read_json(data_root / "rates.json").set_index("what")["rate"]
    # The last report is of the sweep alone, whatever else was trained in the folder.
    metrics = {
        name: one
        for name, one in read_metrics(data_root).items()
        if name in METHODS and name in kept
    }
    measured = pd.DataFrame(
        [measure(data_root, name, one, kept[name], timed) for name, one in metrics.items()]
    )
    plot = page.with_suffix(".svg")
    draw(measured, plot)
    caption = (
        "Numbers are the table's rows. The interval of a PSNR is that of the crops, which all "
        "methods share: not drawn."
    )
    parts = [
        about(data_root, metrics["mae"]["tasks"][TASK]),
        table(*quality(data_root, measured)),
        f"![What attentions cost, and what they give]({plot.name})",
        caption,
    ]
    renew(page, "\n\n".join(parts))


def measure(
    data_root: Path, name: str, metrics: dict[str, Any], kept_mib: float, timed: pd.Series
) -> dict[str, Any]:
    """The row of a method: `GIVEN` with `_lower` and `_upper`, `COSTS`; what it lacks is absent."""
    auc = metrics["tasks"][TASK]["metrics"]["auc"]
    found = {"method": name, **_named("auc", auc["estimate"], auc["lower"], auc["upper"])}
    by_patient = fidelity(data_root, name)
    if "psnr2" in by_patient and name != REFERENCES[-1]:
        exact = fidelity(data_root, REFERENCES[-1])["psnr2"]
        by_patient["more2"] = by_patient["psnr2"] - exact
    for metric, values in by_patient.items():
        # A difference that is 0 for all has no interval of Student's.
        ends = stats.ttest_1samp(values, 0).confidence_interval(LEVEL) if values.std() else (0, 0)
        found |= _named(metric, values.mean(), *ends)
    if name in timed:
        found["ms"] = 1000 / timed[name]
        found["kept_mib"] = kept_mib
    return found


def fidelity(data_root: Path, name: str) -> pd.DataFrame:
    """`psnr1` to `ssim2`, a row per patient; empty for a method that reconstructs nothing."""
    path = data_root / "06_models" / name / "fidelity.csv"
    if not path.is_file():
        return pd.DataFrame()
    crops = pd.read_csv(path, dtype={"patient_id": str})
    means = crops.pivot_table(index="patient_id", columns="scale", values=["psnr", "ssim"])
    means.columns = [f"{metric}{scale}" for metric, scale in means.columns]
    return means


def _named(metric: str, estimate: float, lower: float, upper: float) -> dict[str, float]:
    return {metric: estimate, f"{metric}_lower": lower, f"{metric}_upper": upper}


def about(data_root: Path, task: dict[str, Any]) -> str:
    """What was measured, on how much, and where."""
    header = describe_checkpoint(data_root / "06_models/mae/encoder.safetensors")
    machine, training = header["hardware"], header["training"]
    crops = pd.read_csv(data_root / "06_models/mae/fidelity.csv", dtype={"patient_id": str})
    part = {"val": "kept from training", "train": "that were trained on"}[crops["part"].iloc[0]]
    shown = f"{crops['crop_id'].nunique()} crops of {crops['patient_id'].nunique()} patients {part}"
    threads = f"{machine['threads']} thread{'s' * (machine['threads'] > 1)}"
    where = f"{machine['device']}, {threads}, {machine['precision']}"
    return (
        f"{TASK.capitalize()} of {task['lesions']} lesions of {task['patients']} patients, read by "
        f"a linear probe; PSNR and SSIM of the hidden patches of {shown}, mean over patients; all "
        f"with 95 % intervals. {training['epochs']} epochs in steps of {training['batch_size']} on "
        f"{where}; time of an image in training, each method alone on one core. What is kept for "
        "the backward pass is counted, in float32."
    )


def quality(data_root: Path, measured: pd.DataFrame) -> tuple[tuple[str, ...], list[Any]]:
    """Columns and rows of the table, each row with its number in the plot."""
    kinds = [name for name in measured["method"] if name.startswith("miram_")]
    found = [compared(data_root, kinds, TASK, reference) for reference in REFERENCES]
    rows = []
    for place, row in enumerate(measured.to_dict("records"), start=1):
        auc, *given = [
            _cell(digits, row[metric], row[f"{metric}_lower"], row[f"{metric}_upper"])
            for metric, (digits, _) in GIVEN.items()
        ]
        costs = [_cell(digits, row[name]) for name, (digits, _) in COSTS.items()]
        differences = [difference(one, row["method"]) for one in found]
        rows.append((str(place), row["method"], auc, *differences, *given, *costs))
    auc, *given = [head for _, head in GIVEN.values()]
    minus = [f"minus {name}" for name in REFERENCES]
    return ("", "method", auc, *minus, *given, *(head for _, head in COSTS.values())), rows


def _cell(digits: int, value: float, *ends: float) -> str:
    if np.isnan(value):
        return ""
    text, *more = (f"{one:.{digits}f}" for one in (value, *ends))
    return f"{text} ({' to '.join(more)})" if more else text


def draw(measured: pd.DataFrame, path: Path) -> None:
    """Time of a training step against PSNR at scale 2, and against AUC with its interval."""
    figure = Figure(figsize=(10, 4.5), layout="constrained")
    trained = measured.assign(place=range(1, len(measured) + 1)).dropna(subset="ms")
    for axes, metric in zip(figure.subplots(1, 2), ("psnr2", "auc"), strict=True):
        for row in trained.dropna(subset=metric).to_dict("records"):
            at = row["ms"], row[metric]
            axes.plot(*at, ".", color="none")  # what the axes have room for
            axes.text(*at, str(row["place"]), ha="center", va="center")
            if metric == "auc":
                ends = row["auc_lower"], row["auc_upper"]
                axes.vlines(row["ms"], *ends, color="0.85", zorder=0)
        axes.set(xlabel="ms per image of training", ylabel=GIVEN[metric][1])
    # The same picture from the same numbers: a page that is renewed changes by these alone.
    with atomic_path(path) as temporary, rc_context({"svg.hashsalt": "miram"}):
        figure.savefig(temporary, format="svg", metadata={"Date": None})


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
