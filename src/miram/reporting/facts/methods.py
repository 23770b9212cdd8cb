"""What each method was: its settings, its training, what it saw, how often it was evaluated."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic_core import to_jsonable_python as plain

from miram import configuration
from miram.errors import MiramError
from miram.mammography.splits import pretraining_crops
from miram.models.encoder import EncoderConfig
from miram.models.methods import METHODS, SUPERVISED
from miram.reporting.facts.data import SplitFacts, split_facts
from miram.reporting.facts.study import MethodResult, Study
from miram.reporting.facts.words import Table, counted

GROUPS = ("encoder", "training", "rois", "splits", "features", "evaluation")
_PLACES = {"data_root", "raw_root", "sources"}
ABSENT = "–"  # noqa: RUF001


def study_encoder(study: Study) -> EncoderConfig | None:
    """The encoder that all methods share; None where the run's parameters do not say."""
    try:
        return EncoderConfig.model_validate(plain(study.parameters.get("encoder", {})))
    except MiramError:
        return None


def flatten(value: Any) -> dict[str, str]:
    """Nested settings as dotted names and text, files by their names alone."""
    return {name: _text(item) for name, item in configuration.flatten(plain(value)).items()}


def _text(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, bool):
        return str(value).lower()
    return "none" if value is None else file_name(str(value))


def file_name(text: str) -> str:
    """The name of a file given by its absolute path; any other text as it is."""
    return Path(text).name if Path(text).is_absolute() else text


def setting_tables(study: Study) -> dict[str, Table]:
    """All parameters but those of the methods, which are in `method_table`, one table per group.

    Folders describe a machine, not a study, and are left out, as are the files and columns of raw
    data that `sources` names, names that start with an underscore, which hold parts for use
    elsewhere, and methods that are not in the study.
    """
    hidden = _PLACES | set(study.methods) | set(METHODS)
    shown = [name for name in study.parameters if not (name in hidden or name.startswith("_"))]
    # Names that GROUPS does not order come in an order of their own, whatever that of the run.
    shown.sort(key=lambda name: (GROUPS.index(name) if name in GROUPS else len(GROUPS), name))
    found = {name: flatten(study.parameters[name]) for name in shown}
    return {
        name: Table(("Setting", "Value"), tuple((key or name, text) for key, text in rows.items()))
        for name, rows in found.items()
        if rows
    }


def method_table(study: Study, methods: Sequence[str]) -> Table:
    """Settings of the methods side by side, one row per setting."""
    blocks = {name: flatten(method_block(study, name)) for name in methods}
    keys = dict.fromkeys(key for block in blocks.values() for key in block)
    rows = tuple((key, *(blocks[name].get(key, ABSENT) for name in methods)) for key in keys)
    return Table(("Setting", *methods), rows)


def differing_settings(table: Table) -> tuple[Table, Table]:
    """Divide the rows of `method_table`: those in which methods differ, and the others.

    A setting that only some methods have differs if these do.
    """

    def differs(row: tuple[Any, ...]) -> bool:
        return len({*row[1:]} - {ABSENT}) > 1

    rows = [row for row in table.rows if differs(row)]
    alike = [row for row in table.rows if not differs(row)]
    return Table(table.columns, tuple(rows)), Table(table.columns, tuple(alike))


def method_block(study: Study, method: str) -> dict[str, Any]:
    """Settings of a method as plain values; empty where the run's parameters have none."""
    block = plain(study.parameters.get(method, {}))
    block = block.get("method", block) if isinstance(block, dict) else {}
    return block if isinstance(block, dict) else {}


def is_trained(study: Study, method: str) -> bool:
    """Whether anything was trained on the study's data."""
    return not study.methods[method].history.empty


def unlabeled_crops(study: Study) -> str:
    """The crops that methods without labels were given, in words."""
    manifest = study.crops.manifest
    # A store of lesions without an official part may lack the column.
    columns = list(dict.fromkeys([*manifest.columns, "official_split"]))
    rows = pretraining_crops(manifest.reindex(columns=columns), study.splits)
    seen = manifest.iloc[rows]
    background = int((seen["kind"] == "background").sum())
    return (
        f"{counted(len(seen) - background, 'lesion crop')} and "
        f"{counted(background, 'background patch', 'background patches')} of "
        f"{counted(seen['patient_id'].nunique(), 'patient')}, without labels"
    )


def borrowed_weights(study: Study, method: str) -> str:
    """The weights from elsewhere that a method starts from; empty where there are none."""
    block = method_block(study, method)
    own = block.get("pretrained") or (block.get("backbone") or {}).get("pretrained")
    if own or block.get("backbone") or block.get("kind") == "random":
        return file_name(str(own)) if own else ""
    training = plain(study.parameters.get("training", {}))
    start = (training.get("initialization") or {}).get("checkpoint")
    return file_name(str(start)) if start and is_trained(study, method) else ""


def saw_images(study: Study) -> list[str]:
    """Methods whose encoders saw images of the evaluated patients, without labels."""
    facts = split_facts(study.splits)
    if facts.strategy != "cv" or not facts.seen:
        return []
    return [
        name
        for name in study.methods
        if is_trained(study, name) and not has_encoder_per_fold(study, name)
    ]


def has_encoder_per_fold(study: Study, method: str) -> bool:
    """Whether each fold has an encoder of its own, which has not seen the fold's patients."""
    if study.splits["strategy"].iloc[0] != "cv":
        return False
    origin = study.methods[method].metrics.get("features") or {}
    return method == SUPERVISED or "sides" in origin.get("splits", {})


def exposure(study: Study, method: str) -> str:
    """What an encoder had seen of the patients that it is evaluated on."""
    start = borrowed_weights(study, method)
    if not start:
        return _own_exposure(study, method)
    return (
        f"It starts from {start}. What those weights were trained on is not known here; if images "
        "of the evaluated patients were among it, the metrics are biased upwards. Apart from "
        f"that: {_own_exposure(study, method)}"
    )


def _own_exposure(study: Study, method: str) -> str:
    if not is_trained(study, method):
        return "Nothing was trained on these data: no image of any patient was shown."
    facts = split_facts(study.splits)
    if has_encoder_per_fold(study, method):
        return _exposure_by_fold(facts, "labels" if method == SUPERVISED else "images")
    if method == SUPERVISED:
        return _labeled_exposure(facts)
    if not facts.seen:
        return "Pretraining saw no image of any patient that the probes are evaluated on."
    return (
        f"Pretraining saw images, not labels, of {facts.seen} of the {facts.evaluated} patients "
        "that the probes are evaluated on. Metrics on unseen patients may be lower."
    )


def _exposure_by_fold(facts: SplitFacts, shown: str) -> str:
    per = "fold of each repeat" if facts.repeats > 1 else "fold"
    return (
        f"There are {facts.folds * facts.repeats} encoders, one per {per}, each trained on the "
        f"{shown} of all other patients; an encoder has seen neither image nor label of those it "
        "is evaluated on."
    )


def _labeled_exposure(facts: SplitFacts) -> str:
    if facts.shared:
        return (
            f"Training on labels saw {facts.shared} of the {facts.evaluated} patients that the "
            "probes are evaluated on."
        )
    return "Training on labels saw neither image nor label of any patient it is evaluated on."


def trainings_of(method: str, history: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The histories of the trainings of a method: `mae`, or of several seeds `mae, seed 1`."""
    if "seed" not in history or history.empty:
        return {method: history}
    return {f"{method}, seed {seed}": part for seed, part in history.groupby("seed", sort=False)}


def loss_columns(histories: Iterable[pd.DataFrame]) -> list[str]:
    """The losses that were logged by any method, the sum first, then by scale."""
    found = {
        name
        for history in histories
        for name in history
        if str(name).startswith("loss_scale") and not history[name].isna().all()
    }
    return ["loss", *sorted(found)]


def loss_label(column: str) -> str:
    """A loss column in words."""
    return "sum of scales" if column == "loss" else column.replace("loss_scale", "scale ")


def training_table(methods: Mapping[str, MethodResult]) -> Table:
    """Length, last losses and speed of each training; steps are those of all its folds."""
    losses = loss_columns(result.history for result in methods.values())
    rows = [
        (name + _encoders(history), *_training_row(history, losses))
        for method, result in methods.items()
        for name, history in trainings_of(method, result.history).items()
    ]
    heads = [f"last loss, {loss_label(name)}" for name in losses]
    return Table(("Method", "Epochs", "Steps", *heads, "Images per second (median)"), tuple(rows))


def _encoders(history: pd.DataFrame) -> str:
    """Says that there is an encoder for each fold, whose steps are counted on."""
    folds = history["fold"].nunique() if "fold" in history else 1
    return f", {folds} encoders" if folds > 1 else ""


def _training_row(history: pd.DataFrame, losses: list[str]) -> tuple[Any, ...]:
    if history.empty:
        return (0, 0, *[None] * (len(losses) + 1))
    last = history.iloc[-1]
    return (
        int(last["epoch"]) + 1,
        int(last["step"]),
        *(float(last[name]) if name in last else None for name in losses),
        round(float(history["images_per_second"].median())),
    )


def runs_of(task: Mapping[str, Any]) -> dict[str, int]:
    """Over how many seeds and repeats metrics of a task are means: `{"seed": 2}`; one is none."""
    counts = {"seed": len(task.get("seeds", [0])), "repeat": int(task.get("repeats", 1))}
    return {name: count for name, count in counts.items() if count > 1}


def most_runs(methods: Mapping[str, MethodResult]) -> dict[str, int]:
    """`runs_of` the task with the most seeds, and with the most repeats."""
    found = [
        runs_of(task) for result in methods.values() for task in result.metrics["tasks"].values()
    ]
    return {
        name: max(runs.get(name, 1) for runs in found)
        for name in ("seed", "repeat")
        if any(name in runs for runs in found)
    }


def over_runs(methods: Mapping[str, MethodResult]) -> str:
    """What an estimate is where methods were evaluated several times; empty where once."""
    runs = most_runs(methods)
    parts = []
    if seeds := runs.get("seed"):
        counts = {most_runs({name: result}).get("seed") for name, result in methods.items()}
        parts.append(f"{'' if counts == {seeds} else 'up to '}{seeds} seeds")
    if "repeat" in runs:
        parts.append(f"{runs['repeat']} repeats of the cross-validation")
    return f"means over {' and '.join(parts)}" if parts else ""


def beside_intervals(methods: Mapping[str, MethodResult]) -> str:
    """Which sources of variation the intervals do not cover, in sentences."""
    runs = most_runs(methods)
    found = []
    if runs:
        several = " and ".join(f"{name}s" for name in runs)
        found.append(
            f"Metrics are {over_runs(methods)}: the spread over {several} is not in the "
            f"intervals, but in the standard deviation over {several}."
        )
    if "seed" not in runs:
        found.append(
            "Every metric comes from one training at most: the variation between trainings is not "
            "in the intervals."
        )
    crossed = any(result.metrics["strategy"] == "cv" for result in methods.values())
    if crossed and "repeat" not in runs:
        found.append(
            "Patients were assigned to folds once: the variation between fold assignments is not "
            "in the intervals; splits.repeats would show it."
        )
    return " ".join(found)
