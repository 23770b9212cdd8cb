"""Predictions as a tidy table, and back.

One row per seed, repeat of the cross-validation, protocol, lesion, task and class.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from miram.evaluation.probes.protocols import MAIN
from miram.evaluation.probes.scoring import ScoredTask
from miram.evaluation.statistics.inputs import Kind, SeedScores, one_hot

Array = npt.NDArray[np.float64]

COLUMNS = (
    "lesion_id",
    "patient_id",
    "task",
    "class",
    "label",
    "score",
    "fold",
    "protocol",
    "calibrated",
    "seed",
    "repeat",
)

_RUN = ("seed", "repeat")


@dataclass(frozen=True)
class TaskScores:
    """Predictions of one method for one task, one row per lesion.

    Attributes:
        classes: K class names; of a binary task the positive one alone.
        labels: (n, K) of 0 and 1.
        seeds: (n, K) scores of every seed and repeat.
        patients: (n,) patient of each lesion.
    """

    classes: tuple[str, ...]
    labels: npt.NDArray[np.int64]
    seeds: SeedScores
    patients: npt.NDArray[np.object_]

    def each(self) -> tuple[Array, ...]:
        """(n, K) scores of every seed and repeat."""
        return self.seeds.each

    def by_classifier(self) -> list[tuple[npt.NDArray[np.int64], Array]]:
        """(m, K) labels and scores of the lesions that one classifier scored, by classifier."""
        found = []
        for scores, folds in self.seeds.parts():
            rows = [np.flatnonzero(folds == fold) for fold in np.unique(folds)]
            found += [(self.labels[here], scores[here]) for here in rows]
        return found

    def of_kind(self, kind: Kind) -> tuple[npt.NDArray[np.int64], SeedScores]:
        """Labels and scores in the shapes of `kinds`."""
        if kind == "binary":
            return self.labels[:, 0], self.seeds.shaped(lambda one: one[:, 0])
        return (self.labels.argmax(axis=1) if kind == "single" else self.labels), self.seeds


def prediction_table(repeats: Sequence[ScoredTask], seed: int = 0) -> pd.DataFrame:
    """Write scores as a table.

    Args:
        repeats: The scores of every repeat of the cross-validation; of one if there is no other.
        seed: Of the training they come from.

    Returns:
        `COLUMNS`; `class` is only the positive one of a binary task, `label` 0 or 1, `fold` the
        pair that judged the lesion, `calibrated` the score of the linear probe after its
        temperature, missing for other protocols, `repeat` counts from 1.
    """
    parts = [
        table.assign(seed=seed, repeat=repeat)
        for repeat, task in enumerate(repeats, start=1)
        for table in _tables(task)
    ]
    return pd.concat(parts, ignore_index=True)[list(COLUMNS)]


def _tables(task: ScoredTask) -> list[pd.DataFrame]:
    """A table by protocol and class."""
    kind, classes = task.targets.kind, task.targets.classes
    names = classes[-1:] if kind == "binary" else classes
    labels = task.labels if kind == "multi" else one_hot(task.labels, len(classes))
    labels = labels[:, -len(names) :].astype(np.int64)
    mended = task.calibrated.reshape(labels.shape)
    return [
        task.lesions.assign(
            task=task.targets.task,
            **{"class": name, "label": labels[:, k]},
            score=scores.reshape(labels.shape)[:, k],
            protocol=protocol,
            calibrated=mended[:, k] if protocol == MAIN else np.nan,
        )
        for protocol, scores in task.scores.items()
        for k, name in enumerate(names)
    ]


def task_scores(
    predictions: pd.DataFrame, task: str, *, protocol: str = MAIN, column: str = "score"
) -> TaskScores:
    """Take one task out of a table of predictions.

    Args:
        predictions: `lesion_id`, `patient_id`, `task`, `class`, `label`, `score`, one row per
            lesion and class, and by protocol, seed and repeat if there are several; `fold`
            where there are several classifiers.
        task: Name of the task.
        protocol: Whose scores.
        column: `score`, or `calibrated`.
    """
    rows = predictions[predictions["task"] == task]
    if "protocol" in rows:
        rows = rows[rows["protocol"] == protocol]
    rows = rows.assign(**{name: 0 for name in _RUN if name not in rows})
    classes = list(dict.fromkeys(rows["class"]))
    tables = [
        table.pivot(index="lesion_id", columns="class", values=["label", column])
        for _, table in rows.groupby(list(_RUN), sort=False)
    ]
    about = rows.drop_duplicates("lesion_id").set_index("lesion_id").loc[tables[0].index]
    each = tuple(table[column][classes].to_numpy(np.float64) for table in tables)
    return TaskScores(
        tuple(map(str, classes)),
        tables[0]["label"][classes].to_numpy(np.int64),
        SeedScores(each, _folds(rows), rows["repeat"].nunique()),
        about["patient_id"].to_numpy(dtype=object),
    )


def _folds(rows: pd.DataFrame) -> npt.NDArray | None:
    """Of every seed and repeat the fold of each lesion; None where nothing tells it."""
    if "fold" not in rows:
        return None
    table = rows.drop_duplicates(["lesion_id", *_RUN])
    table = table.pivot(index="lesion_id", columns=list(_RUN), values="fold")
    runs = rows[list(_RUN)].drop_duplicates().itertuples(index=False, name=None)
    return table[list(runs)].to_numpy().T


def judged_lesions(predictions: pd.DataFrame, task: str) -> list[str]:
    """Names of the lesions judged on a task, in the order of `task_scores`."""
    return sorted(set(predictions.loc[predictions["task"] == task, "lesion_id"]))
