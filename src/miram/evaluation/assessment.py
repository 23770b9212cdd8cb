"""From features to figures: every task of one encoder, with intervals and predictions."""

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from pydantic import Field, field_validator

from miram.configuration import Config
from miram.errors import MiramError
from miram.evaluation.bootstrap import DRAWS, cluster_bootstrap
from miram.evaluation.fold_features import Features, fit_probe_by_fold
from miram.evaluation.probe import LinearProbeConfig
from miram.evaluation.targets import TaskTargets, WithoutCallback, task_targets
from miram.evaluation.tasks import TASKS, TaskConfig

log = logging.getLogger(__name__)


class AssessmentConfig(Config):
    """Which tasks are asked, how the probe is fitted, how many draws the intervals take."""

    tasks: tuple[str, ...] = Field(("pathology",), min_length=1)
    own_tasks: tuple[TaskConfig, ...] = Field((), description="tasks on further columns")
    without_callback: WithoutCallback = "benign"
    linear_probe: LinearProbeConfig = LinearProbeConfig()
    bootstrap_draws: int = Field(DRAWS, ge=100)
    seed: int = Field(0, ge=0)

    def task(self, name: str) -> TaskConfig:
        """The task of that name.

        Raises:
            MiramError: There is none.
        """
        known = {task.name: task for task in self.own_tasks} | TASKS
        if name not in known:
            raise MiramError(f"unknown task {name!r}: choose among {', '.join(known)}")
        return known[name]

    @field_validator("tasks")
    @classmethod
    def _known(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        unknown = [name for name in names if name not in TASKS]
        if unknown:
            raise ValueError(f"unknown task {unknown[0]!r}: choose among {', '.join(TASKS)}")
        return names


@dataclass(frozen=True)
class Assessment:
    """What one encoder achieved.

    Attributes:
        metrics: `strategy`, `leakage`, `skipped`, and by task its figures, each with estimate
            and interval, and the numbers of lesions and patients they rest on.
        predictions: One row per lesion, task and class: `lesion_id`, `patient_id`, `task`,
            `class`, `label` (0 or 1), `score`, `fold`.
    """

    metrics: dict[str, Any]
    predictions: pd.DataFrame


def targets_of(
    lesions: pd.DataFrame, splits: pd.DataFrame, task: TaskConfig, config: AssessmentConfig
) -> TaskTargets:
    """Which lesions of the splits answer a task, and with which labels.

    Args:
        lesions: Lesion table.
        splits: (n rows) which lesion is on which side.
        task: The task.
        config: How lesions without callback count.

    Returns:
        Targets whose `rows` are positions in `splits`.
    """
    table = lesions.set_index("lesion_id").loc[splits["lesion_id"]].reset_index()
    official = bool((splits["strategy"] == "official").all())
    side = splits["split"].to_numpy(dtype=object) if official else None
    return task_targets(table, task, config.without_callback, split=side)


def assess_features(
    features: Features, lesions: pd.DataFrame, splits: pd.DataFrame, config: AssessmentConfig
) -> Assessment:
    """Ask every task of one encoder's features.

    Args:
        features: (n, d) features, one row per row of `splits`, by the fold they may judge; see
            `features_by_fold`.
        lesions: Lesion table.
        splits: (n rows) which lesion is on which side.
        config: Tasks and statistics.

    Raises:
        MiramError: There is no lesion to judge.
    """
    if splits.empty:
        raise MiramError(
            "there is no lesion with a crop, so nothing can be probed: does the source have "
            "lesions? Unlabeled images serve pretraining only"
        )
    tasks: dict[str, Any] = {}
    predictions, skipped = [], []
    for task in (*map(config.task, config.tasks), *config.own_tasks):
        targets = targets_of(lesions, splits, task, config)
        skipped += [asdict(row) for row in targets.skipped]
        if not targets.supported:
            log.warning("task %s is skipped: %s", task.name, targets.skipped[-1].reason)
            continue
        rows = splits.iloc[targets.rows].reset_index(drop=True)
        judged = {fold: values[targets.rows] for fold, values in features.items()}
        scored = _score(judged, targets, rows, config)
        predictions.append(scored)
        tasks[task.name] = _figures(scored, targets, config)
    metrics = {
        "strategy": splits["strategy"].iloc[0],
        "leakage": splits["leakage"].iloc[0],
        "tasks": tasks,
        "skipped": skipped,
    }
    columns = ["lesion_id", "patient_id", "task", "class", "label", "score", "fold"]
    found = pd.concat(predictions, ignore_index=True) if predictions else pd.DataFrame()
    return Assessment(metrics, found.reindex(columns=columns))


def evaluation_pairs(splits: pd.DataFrame) -> list[tuple[npt.NDArray, npt.NDArray]]:
    """Which rows a probe learns from and which it is judged on.

    With the official split the validation patients train as well: the probe chooses its penalty
    by an inner cross-validation. The test rows are read in one pair, once.

    Args:
        splits: Table with `strategy` and `split`.

    Returns:
        Positions of training and evaluation rows: one pair, or one per fold.
    """
    split = splits["split"].to_numpy()
    if (splits["strategy"] == "official").all():
        known = np.flatnonzero(np.isin(split, ["train", "val"]))
        return [(known, np.flatnonzero(split == "test"))]
    names = sorted(set(split))
    return [(np.flatnonzero(split != name), np.flatnonzero(split == name)) for name in names]


def _score(
    features: Features, targets: TaskTargets, splits: pd.DataFrame, config: AssessmentConfig
) -> pd.DataFrame:
    patients = splits["patient_id"].to_numpy(dtype=object)
    groups = patients
    if (splits["leakage"] == "official").any():
        # The user asked for the data set's own parts, leaking patients included.
        groups = patients + np.where(splits["split"] == "test", " in test", "")
    pairs = evaluation_pairs(splits)
    split = splits["split"].to_numpy(dtype=object)
    probe = fit_probe_by_fold(features, targets.labels, groups, pairs, split, config.linear_probe)
    found = probe.predictions
    # (m,) or (m, K) -> (m, K): a binary task tells of its positive class alone
    scores = found.scores.reshape(len(found.rows), -1)
    classes = targets.classes[-1:] if targets.kind == "binary" else targets.classes
    hot = _one_hot(targets)[found.rows]
    frame = splits.iloc[found.rows][["lesion_id", "patient_id"]].reset_index(drop=True)
    return pd.concat(
        [
            frame.assign(
                task=targets.task,
                **{"class": name, "label": hot[:, k], "score": scores[:, k], "fold": found.pair},
            )
            for k, name in enumerate(classes)
        ],
        ignore_index=True,
    )


def _one_hot(targets: TaskTargets) -> npt.NDArray[np.int64]:
    if targets.kind == "multi":
        return targets.labels
    if targets.kind == "binary":
        return targets.labels[:, None]
    return (targets.labels[:, None] == np.arange(len(targets.classes))).astype(np.int64)


def _figures(
    scored: pd.DataFrame, targets: TaskTargets, config: AssessmentConfig
) -> dict[str, Any]:
    classes = list(dict.fromkeys(scored["class"]))
    labels = scored["label"].to_numpy().reshape(len(classes), -1).T
    scores = scored["score"].to_numpy().reshape(len(classes), -1).T
    patients = scored["patient_id"].to_numpy()[: len(labels)]
    if targets.kind == "binary":
        labels, scores = labels[:, 0], scores[:, 0]
    elif targets.kind == "single":
        labels = labels.argmax(axis=1)
    intervals = cluster_bootstrap(
        labels, scores, patients, draws=config.bootstrap_draws, seed=config.seed
    )
    return {
        "kind": targets.kind,
        "classes": list(targets.classes),
        "without_callback": targets.without_callback,
        "lesions": len(labels),
        "patients": len(np.unique(patients)),
        "majority": float(np.max(_class_shares(labels, targets.kind))),
        "figures": {
            name: {
                "estimate": interval.estimate,
                "lower": interval.lower,
                "upper": interval.upper,
                "undefined_draws": interval.undefined_draws,
            }
            for name, interval in intervals.items()
        },
    }


def _class_shares(labels: npt.NDArray, kind: str) -> Sequence[float]:
    if kind == "multi":
        share = labels.mean(axis=0)
        return [float(np.maximum(share, 1 - share).mean())]
    return list(np.bincount(labels) / len(labels))
