"""Predictions as a tidy table, and what follows from it: reliability curves, subgroups.

One row per seed, repeat of the cross-validation, protocol, lesion, task and class.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from miram.evaluation.config import AssessmentConfig
from miram.evaluation.probes.protocols import MAIN
from miram.evaluation.probes.scoring import ScoredTask
from miram.evaluation.statistics.calibration import reliability_curve
from miram.evaluation.statistics.inputs import Kind, SeedScores, one_hot
from miram.evaluation.statistics.metrics import main_metric
from miram.evaluation.statistics.subgroups import SubgroupRow, subgroup_rows
from miram.evaluation.statistics.weighted import Predictions
from miram.evaluation.tasks.definitions import TaskConfig
from miram.evaluation.tasks.targets import TaskTargets

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
            each = tuple(one[:, 0] for one in self.seeds.each)
            return self.labels[:, 0], replace(self.seeds, each=each)
        return (self.labels.argmax(axis=1) if kind == "single" else self.labels), self.seeds


def prediction_table(repeats: Sequence[ScoredTask], seed: int = 0) -> pd.DataFrame:
    """Write scores as a table.

    Args:
        repeats: The scores of every repeat of the cross-validation; of one if there is no other.
        seed: Of the training they come from.

    Returns:
        `COLUMNS`; `class` is only the positive one of a binary task, `label` 0 or 1, `fold` the
        pair that evaluated the lesion, `calibrated` the score of the linear probe after its
        temperature, missing for other protocols, `repeat` counts from 1.
    """
    parts = [
        table.assign(seed=seed, repeat=repeat)
        for repeat, task in enumerate(repeats, start=1)
        for table in _tables(task)
    ]
    return pd.concat(parts, ignore_index=True)[list(COLUMNS)]


def class_columns(
    targets: TaskTargets, labels: npt.NDArray[np.int64]
) -> tuple[tuple[str, ...], npt.NDArray[np.int64]]:
    """The K classes that tables show, of a binary task the positive one, and labels (n, K)."""
    classes = targets.classes
    names = classes[-1:] if targets.kind == "binary" else classes
    return names, one_hot(labels, len(classes))[:, -len(names) :].astype(np.int64)


def _tables(task: ScoredTask) -> list[pd.DataFrame]:
    """A table by protocol and class."""
    names, labels = class_columns(task.targets, task.labels)
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
    """The `score` or another column of one task and protocol.

    The table has `lesion_id`, `patient_id`, `task`, `class`, `label`, `score`, one row per lesion
    and class, and by protocol, seed and repeat if there are several; `fold` where there are several
    classifiers.
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
    """Of every seed and repeat the fold of each lesion; None where there is none."""
    if "fold" not in rows:
        return None
    table = rows.drop_duplicates(["lesion_id", *_RUN])
    table = table.pivot(index="lesion_id", columns=list(_RUN), values="fold")
    runs = rows[list(_RUN)].drop_duplicates().itertuples(index=False, name=None)
    return table[list(runs)].to_numpy().T


def evaluated_lesions(predictions: pd.DataFrame, task: str) -> list[str]:
    """Names of the lesions evaluated on a task, in the order of `task_scores`."""
    return sorted(set(predictions.loc[predictions["task"] == task, "lesion_id"]))


CALIBRATION_COLUMNS = (
    "task",
    "scaling",
    "bin",
    "confidence",
    "frequency",
    "lower",
    "upper",
    "answers",
    "patients",
    "strategy",
    "leakage",
)
SUBGROUP_COLUMNS = (
    "task",
    "subgroup",
    "value",
    "metric",
    "estimate",
    "lower",
    "upper",
    "lesions",
    "patients",
    "undefined_draws",
    "difference",
    "difference_lower",
    "difference_upper",
    "p_value",
    "p_holm",
    "verdict",
    "strategy",
    "leakage",
)
_SCALINGS = {"none": "score", "temperature": "calibrated"}


def calibration_table(predictions: pd.DataFrame, metrics: dict[str, Any]) -> pd.DataFrame:
    """The reliability curve of the linear probe on every task, before and after its temperature.

    Predictions and metrics are those of `assess_seeds`.

    Returns:
        `CALIBRATION_COLUMNS`, one row per bin. `answers` counts the probabilities in the bin:
        one per lesion, of a task with several labels one per lesion and label. The interval of
        the frequency takes patients as its number. Of several seeds it is the curve of the first:
        one that is too sure and one that is not sure enough would make a good one together.
    """
    rows = []
    for task, found in metrics["tasks"].items():
        for scaling, column in _SCALINGS.items():
            scored = task_scores(predictions, task, column=column)
            labels, seeds = scored.of_kind(found["kind"])
            outcome, confidence, sample = Predictions(labels, seeds.each[0]).calibration_events()
            curve = reliability_curve(outcome, confidence, scored.patients[sample])
            rows += [
                {"task": task, "scaling": scaling, "bin": place, **asdict(one)}
                for place, one in enumerate(curve, start=1)
            ]
    table = pd.DataFrame(rows).rename(columns={"lesions": "answers"})
    return _with_split(table, metrics, CALIBRATION_COLUMNS)


def subgroup_metrics(
    predictions: pd.DataFrame,
    lesions: pd.DataFrame,
    metrics: dict[str, Any],
    config: AssessmentConfig,
) -> pd.DataFrame:
    """Metrics of the linear probe in every subgroup of every task.

    Predictions and metrics are those of `assess_seeds`.

    Returns:
        `SUBGROUP_COLUMNS`, one row per task, subgroup, value and metric. The main metric has the
        difference from all other lesions and a verdict. A variable that the table does not
        fill, that has one value, or that the task itself asks for is left out.
    """
    rows: list[dict[str, Any]] = []
    for task, found in metrics["tasks"].items():
        asked, kind = config.task(task), found["kind"]
        scored = task_scores(predictions, task)
        evaluated = lesions.set_index("lesion_id").loc[evaluated_lesions(predictions, task)]
        # The macro metric needs every class in a subgroup, which the micro one beside it does not.
        beside = [] if kind == "binary" else ["auc_micro"]
        for variable in config.subgroups:
            if not _has_subgroups(evaluated, variable, asked):
                continue
            by_value = subgroup_rows(
                *scored.of_kind(kind),
                scored.patients,
                evaluated[variable].to_numpy(dtype=object),
                subgroup=variable,
                metrics=[main_metric(kind), *beside],
                draws=config.bootstrap_draws,
                seed=config.seed,
            )
            rows += [{"task": task, **cells} for row in by_value for cells in _cells(row)]
    return _with_split(pd.DataFrame(rows), metrics, SUBGROUP_COLUMNS)


def _has_subgroups(evaluated: pd.DataFrame, variable: str, task: TaskConfig) -> bool:
    if variable not in evaluated or variable in (task.column, task.by):
        return False
    return evaluated[variable].nunique(dropna=True) > 1


def _cells(row: SubgroupRow) -> list[dict[str, Any]]:
    """One entry per metric; what only the evaluated metric has is missing in the others."""
    verdict = {"verdict": row.verdict, "p_value": row.p_value, "p_holm": row.p_holm}
    if row.difference is not None:
        verdict["difference"] = row.difference.estimate
        verdict["difference_lower"] = row.difference.lower
        verdict["difference_upper"] = row.difference.upper
    return [
        {
            "subgroup": row.subgroup,
            "value": row.value,
            "metric": metric,
            **asdict(interval),
            **(verdict if metric == row.metric else {}),
        }
        for metric, interval in row.intervals.items()
    ]


def _with_split(
    table: pd.DataFrame, metrics: dict[str, Any], columns: tuple[str, ...]
) -> pd.DataFrame:
    """Which split the metrics rest on stands in every table, whatever it is taken out of."""
    split = {"strategy": metrics["strategy"], "leakage": metrics["leakage"]}
    return table.assign(**split).reindex(columns=list(columns))
