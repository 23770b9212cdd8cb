"""Predictions as a tidy table, and back: one row per seed, protocol, lesion, task and class."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from miram.evaluation.kinds import Kind, one_hot
from miram.evaluation.protocols import MAIN
from miram.evaluation.scoring import ScoredTask
from miram.evaluation.seeds import SeedScores

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
)


@dataclass(frozen=True)
class TaskScores:
    """Predictions of one method for one task, one row per lesion.

    Attributes:
        classes: K class names; of a binary task the positive one alone.
        labels: (n, K) of 0 and 1.
        seeds: (n, K) scores of every seed.
        patients: (n,) patient of each lesion.
    """

    classes: tuple[str, ...]
    labels: npt.NDArray[np.int64]
    seeds: SeedScores
    patients: npt.NDArray[np.object_]

    def each(self) -> tuple[Array, ...]:
        """(n, K) scores of every seed."""
        return self.seeds.each

    def folds(self) -> list[npt.NDArray[np.intp]]:
        """Rows of the lesions that one classifier scored, by classifier."""
        if self.seeds.folds is None:
            return [np.arange(len(self.labels))]
        return [np.flatnonzero(self.seeds.folds == fold) for fold in np.unique(self.seeds.folds)]

    def of_kind(self, kind: Kind) -> tuple[npt.NDArray[np.int64], SeedScores]:
        """Labels and scores in the shapes of `kinds`."""
        if kind == "binary":
            return self.labels[:, 0], self.seeds.shaped(lambda one: one[:, 0])
        return (self.labels.argmax(axis=1) if kind == "single" else self.labels), self.seeds


def prediction_table(task: ScoredTask, seed: int = 0) -> pd.DataFrame:
    """Write scores as a table.

    Args:
        task: The scores.
        seed: Of the training they come from.

    Returns:
        `COLUMNS`; `class` is only the positive one of a binary task, `label` 0 or 1, `fold` the
        pair that judged the lesion, `calibrated` the score of the linear probe after its
        temperature, missing for other protocols.
    """
    kind, classes = task.targets.kind, task.targets.classes
    names = classes[-1:] if kind == "binary" else classes
    labels = task.labels if kind == "multi" else one_hot(task.labels, len(classes))
    labels = labels[:, -len(names) :].astype(np.int64)
    mended = task.calibrated.reshape(labels.shape)
    parts = [
        task.lesions.assign(
            task=task.targets.task,
            **{"class": name, "label": labels[:, k]},
            score=scores.reshape(labels.shape)[:, k],
            protocol=protocol,
            calibrated=mended[:, k] if protocol == MAIN else np.nan,
            seed=seed,
        )
        for protocol, scores in task.scores.items()
        for k, name in enumerate(names)
    ]
    return pd.concat(parts, ignore_index=True)[list(COLUMNS)]


def task_scores(
    predictions: pd.DataFrame, task: str, *, protocol: str = MAIN, column: str = "score"
) -> TaskScores:
    """Take one task out of a table of predictions.

    Args:
        predictions: `lesion_id`, `patient_id`, `task`, `class`, `label`, `score`, one row per
            lesion and class, and by protocol and seed if there are several; `fold` where
            there are several classifiers.
        task: Name of the task.
        protocol: Whose scores.
        column: `score`, or `calibrated`.
    """
    rows = predictions[predictions["task"] == task]
    if "protocol" in rows:
        rows = rows[rows["protocol"] == protocol]
    rows = rows if "seed" in rows else rows.assign(seed=0)
    classes = list(dict.fromkeys(rows["class"]))
    seeds = list(dict.fromkeys(rows["seed"]))
    table = rows.pivot(index="lesion_id", columns=["seed", "class"], values=["label", column])
    about = rows.drop_duplicates("lesion_id").set_index("lesion_id").loc[table.index]
    each = tuple(table[column][seed][classes].to_numpy(np.float64) for seed in seeds)
    return TaskScores(
        tuple(map(str, classes)),
        table["label"][seeds[0]][classes].to_numpy(np.int64),
        SeedScores(each, about["fold"].to_numpy() if "fold" in about else None),
        about["patient_id"].to_numpy(dtype=object),
    )


def judged_lesions(predictions: pd.DataFrame, task: str) -> list[str]:
    """Names of the lesions judged on a task, in the order of `task_scores`."""
    return sorted(set(predictions.loc[predictions["task"] == task, "lesion_id"]))
