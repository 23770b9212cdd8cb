"""On which lesions and classes any models are judged: what their scores and labels share."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from miram.errors import MiramError
from miram.evaluation.score_files.labels import check_given, check_labels
from miram.evaluation.score_files.tables import names_in, rows_where, score_frame, split_trainings
from miram.evaluation.statistics.inputs import SeedScores
from miram.evaluation.tasks.definitions import TaskConfig
from miram.evaluation.tasks.targets import Skipped, TaskTargets, WithoutCallback, task_targets

Array = npt.NDArray[np.float64]

_SUM_TOLERANCE = 1e-3  # of the probabilities of one answer; as `metrics` has it


@dataclass(frozen=True)
class JudgedLesions:
    """Labels and scores of the same lesions in the same order.

    Attributes:
        classes: Names of the classes; of a binary task both.
        labels: (n,) classes from 0, or (n, K) of 0 and 1, as in `kinds`.
        scores: By model (n,) or (n, K) of each of its trainings.
        patients: (n,) patient of each lesion.
        skipped: Lesions and classes that were left out, and why.
        unscored: Lesions of the label table that no model has scored.
        official_training: Lesions judged that are of the official training part, though nobody
            asked for it by name, and no cross-validation kept them apart.
    """

    classes: tuple[str, ...]
    labels: npt.NDArray[np.int64]
    scores: dict[str, SeedScores]
    patients: npt.NDArray[np.object_]
    skipped: tuple[Skipped, ...]
    unscored: int
    official_training: int


def judged_lesions(
    scores: Mapping[str, pd.DataFrame],
    labels: pd.DataFrame,
    task: TaskConfig,
    *,
    without_callback: WithoutCallback,
    part: str | None,
    label_separator: str,
    where: str,
) -> JudgedLesions:
    """Match scores with labels, and refuse what does not match.

    Args:
        scores: Long or wide table by model.
        labels: One row per lesion.
        task: The task.
        without_callback: How lesions without callback count.
        part: `COLUMN=VALUE`, the lesions to judge; None for all that have a score.
        label_separator: Between several labels in one cell.
        where: Name of the label table, for messages.

    Raises:
        MiramError: A table is not in order, a scored lesion is unknown, a model lacks a lesion or
            a class that others have, or the lesions cannot answer the task.
    """
    labels = _with_lists(check_labels(labels, where), task, label_separator)
    names = _class_names(task, labels)
    trainings = {model: split_trainings(table, model) for model, table in scores.items()}
    tables = {name: table for each in trainings.values() for name, table in each.items()}
    frames = {
        name: score_frame(table, task.name, names, task.kind == "binary", f"model {name}")
        for name, table in tables.items()
    }
    scored = _scored(frames, labels, where)
    inside = scored if part is None else _in_part(labels, part, where)
    judged = labels[inside].reset_index(drop=True)
    targets = _targets(judged, task, without_callback)
    rows = judged.iloc[targets.rows]
    wanted = targets.classes[-1:] if task.kind == "binary" else targets.classes
    classes, dropped = _classes_scored(frames, wanted, task)
    hot = _one_hot(targets)[:, [targets.classes.index(name) for name in classes]]
    truth = pd.DataFrame(hot, index=pd.Index(rows["lesion_id"]), columns=list(classes))
    for name, table in tables.items():
        check_given(table, truth, task.name, names, task.kind, name, where)
    arrays = {name: _aligned(frame, truth, task.kind, name) for name, frame in frames.items()}
    folds = {
        model: _folds(each, task.name, rows["lesion_id"], f"model {model}")
        for model, each in trainings.items()
    }
    return JudgedLesions(
        classes=targets.classes if task.kind == "binary" else classes,
        labels=hot if task.kind == "multi" else targets.labels,
        scores={
            model: SeedScores(
                tuple(arrays[name] for name in each), folds[model], _repeats(scores[model])
            )
            for model, each in trainings.items()
        },
        patients=rows["patient_id"].to_numpy(dtype=object),
        skipped=(*_outside(scored & ~inside, task, part), *targets.skipped, *dropped),
        unscored=int((~scored).sum()),
        official_training=(
            0 if all(one is not None for one in folds.values()) else _unasked_training(rows, part)
        ),
    )


def _unasked_training(judged: pd.DataFrame, part: str | None) -> int:
    """How many lesions are of the official training part, unless this part was asked for."""
    if "official_split" not in judged or (part or "").startswith("official_split="):
        return 0
    return int(judged["official_split"].eq("train").fillna(False).sum())


def _repeats(table: pd.DataFrame) -> int:
    return table["repeat"].nunique() if "repeat" in table else 1


def _folds(
    trainings: Mapping[str, pd.DataFrame], task: str, lesions: pd.Series, where: str
) -> npt.NDArray | None:
    """Of every training and repeat the fold that scored each lesion; None where there is none."""
    found = []
    for name, table in trainings.items():
        if "fold" not in table:
            return None
        rows = rows_where(table, "task", task, where)
        owners = names_in(rows, "lesion_id", where, "whose fold it is")
        by_lesion = rows["fold"].groupby(owners.to_numpy()).agg(["first", "nunique"])
        by_lesion = by_lesion.loc[lesions]
        here = by_lesion["first"].to_numpy()
        if pd.isna(here).any() or by_lesion["nunique"].gt(1).any():
            raise MiramError(f"model {name}: every lesion needs one fold, the same in all its rows")
        found.append(here)
    together = np.stack(found)
    return None if len(np.unique(together)) < 2 else together


def _class_names(task: TaskConfig, labels: pd.DataFrame) -> tuple[str, ...]:
    if task.positive:
        positive = "/".join(task.positive)
        return (f"not {positive}", positive)  # as `targets` names them
    if task.classes:
        return task.classes
    found = task_targets(labels, task.model_copy(update={"min_patients": 1})).classes
    if not found:
        raise MiramError(f"task {task.name!r} names no classes, and {task.column} holds none")
    return found


def _scored(frames: Mapping[str, pd.DataFrame], labels: pd.DataFrame, where: str) -> pd.Series:
    """Which rows of the labels any model has scored."""
    scored = pd.Series(False, index=labels.index)
    for model, frame in frames.items():
        unknown = frame.index[~frame.index.isin(labels["lesion_id"])]
        if len(unknown):
            raise MiramError(
                f"model {model} scores lesion {unknown[0]} ({len(unknown)} such lesions), which is "
                f"not in {where} (its first is {labels['lesion_id'].iloc[0]}): use the same "
                "lesion_id in both tables"
            )
        scored |= labels["lesion_id"].isin(frame.index)
    return scored


def _in_part(labels: pd.DataFrame, part: str, where: str) -> pd.Series:
    column, _, value = part.partition("=")
    if column not in labels:
        raise MiramError(
            f"part {part!r}: {where} has no column {column}; it has: {', '.join(map(str, labels))}"
        )
    texts = labels[column].astype(str)
    inside = texts == value
    if not inside.any():
        there = ", ".join(sorted(set(texts))[:10])
        raise MiramError(f"part {part!r}: no lesion of {where} has it; {column} holds {there}")
    return inside


def _outside(outside: pd.Series, task: TaskConfig, part: str | None) -> list[Skipped]:
    count = int(outside.sum())
    return [Skipped(task.name, "lesions", count, f"scored, but not in {part}")] if count else []


def _with_lists(labels: pd.DataFrame, task: TaskConfig, separator: str) -> pd.DataFrame:
    """Take the several labels of one cell apart, where a file had to join them."""
    if task.kind != "multi" or task.column not in labels or not separator:
        return labels
    cells = labels[task.column].map(
        lambda cell: (
            [part.strip() for part in cell.split(separator)] if isinstance(cell, str) else cell
        )
    )
    return labels.assign(**{task.column: cells.astype(object)})


def _targets(
    labels: pd.DataFrame, task: TaskConfig, without_callback: WithoutCallback
) -> TaskTargets:
    # Nothing is trained here: two patients of a class are enough to be judged.
    targets = task_targets(labels, task.model_copy(update={"min_patients": 1}), without_callback)
    if not targets.supported:
        raise MiramError(
            f"the lesions cannot answer the task {task.name!r}: {targets.skipped[-1].reason}"
        )
    return targets


def _classes_scored(
    frames: Mapping[str, pd.DataFrame], wanted: tuple[str, ...], task: TaskConfig
) -> tuple[tuple[str, ...], list[Skipped]]:
    """Classes that all models score; of a multi-label task, one that none scores is left out."""
    dropped, kept = [], []
    for name in wanted:
        lacking = [model for model, frame in frames.items() if name not in frame]
        if not lacking:
            kept.append(name)
        elif task.kind == "multi" and len(lacking) == len(frames):
            dropped.append(Skipped(task.name, f"class {name}", 0, "no model scores it"))
        else:
            raise MiramError(
                f"model {lacking[0]} has no scores for the class {name!r} of the task "
                f"{task.name!r}: every model has to score the same classes"
            )
    if not kept:
        raise MiramError(f"no model scores a class of {task.name!r} that the lesions can answer")
    return tuple(kept), dropped


def _one_hot(targets: TaskTargets) -> npt.NDArray[np.int64]:
    if targets.kind == "multi":
        return targets.labels
    return (targets.labels[:, None] == np.arange(len(targets.classes))).astype(np.int64)


def _aligned(frame: pd.DataFrame, truth: pd.DataFrame, kind: str, model: str) -> Array:
    missing = truth.index[~truth.index.isin(frame.index)]
    if len(missing):
        raise MiramError(
            f"model {model} has no score for lesion {missing[0]} ({len(missing)} of "
            f"{len(truth)} lesions are missing): every model has to score every lesion that is "
            "judged; name them with --part where a model was not meant to score all"
        )
    scores = frame.loc[truth.index, list(truth.columns)]
    if kind == "binary":
        return scores.to_numpy(np.float64)[:, 0]
    if kind == "single":
        off = (scores.sum(axis=1) - 1).abs()
        if off.max() > _SUM_TOLERANCE:
            raise MiramError(
                f"model {model}: the scores of lesion {off.idxmax()} sum to "
                f"{scores.loc[off.idxmax()].sum():.3g} over {', '.join(truth.columns)}: one of "
                "these is true, so they have to sum to 1, as a softmax gives them"
            )
    return scores.to_numpy(np.float64)
