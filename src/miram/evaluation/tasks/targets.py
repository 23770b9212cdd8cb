"""Which lesions can answer a task, and with which labels; what is left out becomes a row."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from miram.errors import MiramError
from miram.evaluation.statistics.inputs import Kind
from miram.evaluation.tasks.definitions import TaskConfig

WithoutCallback = Literal["benign", "drop"]


@dataclass(frozen=True)
class Skipped:
    """What was left out of a task, and why: the `task`, a `class <name>`, or some `lesions`."""

    task: str
    what: str
    lesions: int
    reason: str


@dataclass(frozen=True)
class TaskTargets:
    """The lesions that answer a task, and their labels.

    Attributes:
        task: Name of the task.
        kind: `binary`, `single` or `multi`.
        rows: (m,) positions in the lesion table, ascending; empty if the task is unsupported.
        labels: (m,) classes from 0, or (m, K) of 0 and 1.
        classes: K names.
        skipped: What was left out: lesions, classes, or the task itself.
        without_callback: How BENIGN_WITHOUT_CALLBACK was taken, `benign` or `drop`; None where the
            task does not ask for the pathology.
        supported: Whether the lesions at hand can answer the task.
    """

    task: str
    kind: Kind
    rows: npt.NDArray[np.intp]
    labels: npt.NDArray[np.int64]
    classes: tuple[str, ...]
    skipped: tuple[Skipped, ...]
    without_callback: WithoutCallback | None
    supported: bool


def targets_of(
    lesions: pd.DataFrame,
    splits: pd.DataFrame,
    task: TaskConfig,
    without_callback: WithoutCallback,
) -> TaskTargets:
    """Which lesions of the splits answer a task; its `rows` are positions in `splits`."""
    table = lesions.set_index("lesion_id").loc[splits["lesion_id"]].reset_index()
    official = bool((splits["strategy"] == "official").all())
    split = splits["split"].to_numpy(dtype=object) if official else None
    return task_targets(table, task, without_callback, split=split)


def task_targets(
    lesions: pd.DataFrame,
    task: TaskConfig,
    without_callback: WithoutCallback = "benign",
    *,
    split: Sequence[str | None] | npt.NDArray | pd.Series | None = None,
) -> TaskTargets:
    """Find the lesions that answer a task, their labels, and what had to be left out.

    A class without enough patients in training or in test ends a `binary` or `single`
    task; of a `multi` task it drops that class alone. Lesions with none of the remaining labels
    then stay, as negatives of the others.

    Args:
        lesions: Lesion table, one row per lesion, with `patient_id`, `abnormality_type` and the
            columns of the task.
        task: The task.
        without_callback: Take BENIGN_WITHOUT_CALLBACK as benign, or drop these lesions.
        split: (n,) `train`, `val` or `test` per lesion; lesions with none of these are left out.
            None, for k-fold, asks for the patients of both in the whole table.

    Raises:
        MiramError: If a column is missing.
    """
    _require_columns(lesions, task)
    parts = None if split is None else pd.Series(np.asarray(split, dtype=object))
    found, reasons = _found_values(lesions, task, without_callback)
    if parts is not None:
        _leave_out_outside(reasons, parts)
    kept = reasons.eq("").to_numpy()
    names, values = _classes(task, found[kept])
    strange = ""
    if not task.positive:
        known = found.map(lambda here: bool(set(here) & set(values))).to_numpy()
        strange = _none_of(found[kept & ~known], values)
        reasons[kept & ~known] = strange
        kept = kept & known
    rows = np.flatnonzero(kept)
    hot = _hot(found[kept], task, values)
    patients = lesions["patient_id"].to_numpy()[rows]
    lacking = _lacking(hot, patients, None if parts is None else parts.to_numpy()[rows], task)
    usable, problem = _usable_classes(names, lacking, task.kind)
    counts = reasons[~kept].value_counts(sort=False).sort_index()
    skipped = [Skipped(task.name, "lesions", int(n), str(reason)) for reason, n in counts.items()]
    if task.kind == "multi":
        skipped += [
            Skipped(task.name, f"class {names[index]}", int(hot[:, index].sum()), reason)
            for index, reason in lacking.items()
        ]
    if problem:
        if task.positive and not hot[:, -1].any():
            strange = _none_of(found[kept], task.positive)
        empty = [name for name in _columns_of(task) if lesions[name].isna().all()]
        problem = f"no lesion has a value of {', '.join(empty)}" if empty else problem
        problem = "; ".join(filter(None, [problem, strange]))
        skipped.append(Skipped(task.name, "task", len(rows), problem))
        rows, hot = rows[:0], hot[:0]
    hot = hot[:, usable]
    return TaskTargets(
        task=task.name,
        kind=task.kind,
        rows=rows,
        labels=(hot if task.kind == "multi" else hot.argmax(axis=1)).astype(np.int64),
        classes=tuple(names[index] for index in usable),
        skipped=tuple(skipped),
        without_callback=without_callback if task.column == "pathology" else None,
        supported=not problem,
    )


def _leave_out_outside(reasons: pd.Series, split: pd.Series) -> None:
    """Give a reason to lesions that are in no part of the split, where they have none yet."""
    outside = reasons.eq("") & ~split.isin(["train", "val", "test"]).to_numpy()
    reasons[outside] = "in no split"
    leaking = split.eq("dropped").to_numpy(bool)
    reasons[outside & leaking] = "patient in both parts of the split (splits.leakage=drop)"


def class_names(task: TaskConfig, lesions: pd.DataFrame) -> tuple[str, ...]:
    """Names of the classes of a task; those found where it names none.

    Raises:
        MiramError: There are none.
    """
    _require_columns(lesions, task)
    found, reasons = _found_values(lesions, task, "benign")
    names, _ = _classes(task, found[reasons.eq("").to_numpy()])
    if not names:
        raise MiramError(f"task {task.name!r} names no classes, and {task.column} holds none")
    return names


def _columns_of(task: TaskConfig) -> list[str]:
    """Columns of the lesion table that a task is asked of."""
    kind = "abnormality_type" if task.abnormality_type else None
    return [name for name in (task.column, task.by, kind) if name]


def _require_columns(lesions: pd.DataFrame, task: TaskConfig) -> None:
    missing = [name for name in ("patient_id", *_columns_of(task)) if name not in lesions]
    if missing:
        raise MiramError(
            f"task {task.name!r} needs {', '.join(missing)}, which the lesion table does not have: "
            f"its columns are {', '.join(map(str, lesions.columns))}"
        )


def _none_of(found: pd.Series, expected: Sequence[str], shown: int = 5) -> str:
    """That values are none of those expected, with the most frequent ones; '' without any."""
    if found.empty:
        return ""
    counts = Counter("-".join(here) for here in found).items()
    often = sorted(counts, key=lambda one: (-one[1], one[0]))
    texts = [f"{value!r} x{count}" for value, count in often[:shown]]
    more = [f"{len(often) - shown} more"] if len(often) > shown else []
    return (
        f"value is none of the classes (found {', '.join(texts + more)}; expected "
        f"{', '.join(expected)})"
    )


def _usable_classes(
    names: tuple[str, ...], lacking: dict[int, str], kind: Kind
) -> tuple[list[int], str]:
    """The classes that stay, and why the task as a whole cannot be answered, or ''."""
    if kind == "multi":
        usable = [index for index in range(len(names)) if index not in lacking]
        return usable, "" if usable else "no class has enough patients"
    problem = "; ".join(f"{names[index]}: {reason}" for index, reason in lacking.items())
    return list(range(len(names))), problem or ("" if len(names) > 1 else "fewer than two classes")


def _found_values(
    lesions: pd.DataFrame, task: TaskConfig, without_callback: WithoutCallback
) -> tuple[pd.Series, pd.Series]:
    """The values of each lesion as tuples of text, and why a lesion cannot be used, or ''."""
    found = _values_of(lesions[task.column])
    merge = dict(task.merge)
    dropped = np.zeros(len(found), bool)
    if task.column == "pathology":
        if without_callback == "benign":
            merge["BENIGN_WITHOUT_CALLBACK"] = "BENIGN"
        else:
            dropped = found.map(lambda here: "BENIGN_WITHOUT_CALLBACK" in here).to_numpy(bool)
    found = found.map(lambda here: tuple(merge.get(value, value) for value in here))
    if task.by:
        second = _values_of(lesions[task.by])
        found = pd.Series(
            [
                tuple(f"{a} {b}" for a in first for b in other)
                for first, other in zip(found, second, strict=True)
            ],
            dtype=object,
        )
    reasons = pd.Series("", index=found.index, dtype=object)
    reasons[~found.map(bool).to_numpy(bool)] = f"{task.column} is missing"
    reasons[dropped] = "benign without callback, dropped as configured"
    if task.abnormality_type:
        types = _values_of(lesions["abnormality_type"])
        reasons[types.map(lambda here: here != (task.abnormality_type,)).to_numpy(bool)] = (
            f"not a {task.abnormality_type}"
        )
        reasons[~types.map(bool).to_numpy(bool)] = "abnormality_type is missing"
    return found, reasons


def _values_of(column: pd.Series) -> pd.Series:
    """The cells of a column as `_texts`, whatever the column's own kind of values."""
    return pd.Series([_texts(value) for value in column], dtype=object)


def _texts(value: object) -> tuple[str, ...]:
    """A cell as text values: nothing, one value, or a list of them."""
    if isinstance(value, str):
        return (value,) if value else ()
    if isinstance(value, (list, tuple, set, np.ndarray)):
        return tuple(text for part in value for text in _texts(part))
    if value is None or value is pd.NA or value != value:
        return ()
    if isinstance(value, (float, np.floating)) and float(value).is_integer():
        return (str(int(value)),)
    return (str(value),)


def _classes(task: TaskConfig, found: pd.Series) -> tuple[tuple[str, ...], tuple[str, ...]]:
    if task.positive:
        positive = "/".join(task.positive)
        return (f"not {positive}", positive), ()
    classes = task.classes or tuple(sorted({value for here in found for value in here}))
    return classes, task.values or classes


def _hot(found: pd.Series, task: TaskConfig, values: tuple[str, ...]) -> npt.NDArray[np.bool_]:
    if task.positive:
        positive = np.array([bool(set(here) & set(task.positive)) for here in found], bool)
        return np.column_stack([~positive, positive])
    rows = [[value in here for value in values] for here in found]
    return np.array(rows, bool).reshape(len(found), len(values))


def _lacking(
    hot: npt.NDArray[np.bool_], patients: npt.NDArray, split: npt.NDArray | None, task: TaskConfig
) -> dict[int, str]:
    """Classes with too few patients (of the class, and for `multi` of its absence) in a part."""
    everyone = np.ones(len(hot), bool)
    parts = {"the data": (everyone, 2 * task.min_patients)}
    if split is not None:
        parts = {part: (split == part, task.min_patients) for part in ("train", "test")}
    lacking: dict[int, str] = {}
    for index in range(hot.shape[1]):
        wanted = {"with": hot[:, index]}
        if task.kind == "multi":
            wanted["without"] = ~hot[:, index]
        reasons = []
        for part, (inside, least) in parts.items():
            for word, members in wanted.items():
                count = len(set(patients[inside & members]))
                if count < least:
                    reasons.append(f"{count} patients {word} it in {part}, {least} needed")
        if reasons:
            lacking[index] = "; ".join(reasons)
    return lacking
