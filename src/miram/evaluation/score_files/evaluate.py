"""Metrics of any model's scores, by the same rules as those of our own encoders.

A table of scores and a table of labels are all that is needed, so that models trained elsewhere
stand beside ours: the same metrics, the same patient-cluster intervals, the same paired tests.
From the predictions of a finished study come, digit for digit, its own metrics.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from pydantic import Field

from miram.configuration import Config
from miram.errors import MiramError
from miram.evaluation.probes.protocols import MAIN
from miram.evaluation.score_files.lesions import Array, JudgedLesions, judged_lesions
from miram.evaluation.score_files.result import Evaluation, ModelMetrics, json_values
from miram.evaluation.score_files.tables import rows_of_protocol
from miram.evaluation.statistics import StatisticsError
from miram.evaluation.statistics.bootstrap import DRAWS, Interval, cluster_bootstrap
from miram.evaluation.statistics.comparison import Comparison, compare_methods
from miram.evaluation.statistics.delong import AucInterval, AucTest, auc_interval, auc_test
from miram.evaluation.statistics.inputs import Kind, SeedScores, same_folds
from miram.evaluation.statistics.metrics import compute_metrics, metrics_of
from miram.evaluation.tasks.definitions import TASKS, TaskConfig
from miram.evaluation.tasks.targets import WithoutCallback

__all__ = ["Evaluation", "ExternalConfig", "ModelMetrics", "evaluate_scores", "json_values"]


class ExternalConfig(Config):
    """What is asked of the scores, and how."""

    task: str = Field("pathology", description="name of a task")
    without_callback: WithoutCallback = "benign"
    part: str | None = Field(
        None,
        pattern=r"^[^=]+=.+$",
        description="COLUMN=VALUE: judge exactly the lesions of the label table with that value, "
        "such as official_split=test; without it, all lesions that have a score",
    )
    label_separator: str = Field(
        "-", description="between several labels in one cell of a CSV; empty for none"
    )
    protocol: str = Field(
        MAIN, description="whose scores are read from a table that holds several protocols"
    )
    reference: str | None = Field(None, description="the model that others are compared with")
    compare_by: str | None = Field(
        None, description="metric compared; the area under the ROC curve if not given"
    )
    draws: int = Field(DRAWS, ge=100, description="bootstrap draws")
    seed: int = Field(0, ge=0, description="seed of the draws")


def evaluate_scores(
    scores: Mapping[str, pd.DataFrame],
    labels: pd.DataFrame,
    config: ExternalConfig,
    *,
    task: TaskConfig | None = None,
    where: str = "the label table",
) -> Evaluation:
    """Judge the scores of any models on the same lesions.

    Args:
        scores: Long or wide table by model, see `external_tables`.
        labels: One row per lesion: `lesion_id`, `patient_id` and the columns of the task; a
            lesion table, or any table with these names and values.
        config: Task and statistics.
        task: A task of one's own, instead of the one that `config` names.
        where: Name of the label table, for messages.

    Returns:
        The metrics.

    Raises:
        MiramError: A table is not in order, models are not scored on the same lesions and
            classes, the lesions cannot answer the task, or a name is unknown.
    """
    task = _task(config.task) if task is None else task
    _check_names(config, scores, task)
    asked = {
        name: rows_of_protocol(table, config.protocol, f"model {name}")
        for name, table in scores.items()
    }
    found = judged_lesions(
        {name: table for name, (table, _) in asked.items()},
        labels,
        task,
        without_callback=config.without_callback,
        part=config.part,
        label_separator=config.label_separator,
        where=where,
    )
    answer, majority = _majority(found, task.kind, config)
    return Evaluation(
        task=task.name,
        kind=task.kind,
        classes=found.classes,
        lesions=len(found.labels),
        patients=len(np.unique(found.patients)),
        majority_answer=answer,
        majority=majority,
        models={
            name: _metrics(name, found, task.kind, config, protocol)
            for name, (_, protocol) in asked.items()
        },
        comparisons=_comparisons(found, config),
        skipped=found.skipped,
        unscored=found.unscored,
        official_training=found.official_training,
        config=config,
    )


def _task(name: str) -> TaskConfig:
    if name not in TASKS:
        raise MiramError(f"unknown task {name!r}: choose among {', '.join(TASKS)}")
    return TASKS[name]


def _check_names(config: ExternalConfig, scores: Mapping[str, Any], task: TaskConfig) -> None:
    if config.reference is not None and config.reference not in scores:
        raise MiramError(
            f"the reference {config.reference!r} is none of the models: {', '.join(scores)}"
        )
    if config.compare_by is not None and config.compare_by not in metrics_of(task.kind):
        raise MiramError(
            f"models cannot be compared by {config.compare_by!r} on the {task.kind} task "
            f"{task.name!r}: choose among {', '.join(metrics_of(task.kind))}"
        )


def _metrics(
    name: str, found: JudgedLesions, kind: Kind, config: ExternalConfig, protocol: str | None
) -> ModelMetrics:
    scores = found.scores[name]
    intervals = cluster_bootstrap(
        found.labels, scores, found.patients, draws=config.draws, seed=config.seed
    )
    alone = [compute_metrics(found.labels, one, folds=folds) for one, folds in scores.parts()]
    spread = {metric: scores.spread([one[metric] for one in alone]) for metric in intervals}
    delong, test = None, None
    if kind == "binary" and len(alone) == 1:
        delong = _delong(found, scores)
        if config.reference not in (None, name):
            test = _delong_test(found, scores, found.scores[str(config.reference)])
    return ModelMetrics(
        metrics=intervals,
        seeds=scores.seeds,
        seed_deviation={name: one.get("seed_deviation") for name, one in spread.items()},
        repeats=scores.repeats,
        repeat_deviation={name: one.get("repeat_deviation") for name, one in spread.items()},
        protocol=protocol,
        delong=delong,
        delong_test=test,
    )


def _delong(found: JudgedLesions, scores: SeedScores) -> AucInterval | None:
    try:
        ((only, folds),) = scores.parts()
        return auc_interval(found.labels, only, found.patients, folds)
    except StatisticsError:  # a fold has fewer than two patients of a class: there is no variance
        return None


def _delong_test(found: JudgedLesions, scores: SeedScores, base: SeedScores) -> AucTest | None:
    if len(base.each) > 1:
        return None
    ((own, folds),), ((other, _),) = scores.parts(), base.parts()
    if not same_folds(scores, base):
        return None
    try:
        return auc_test(found.labels, own, other, found.patients, folds)
    except StatisticsError:  # as above
        return None


def _comparisons(found: JudgedLesions, config: ExternalConfig) -> tuple[Comparison, ...]:
    if config.reference is None:
        return ()
    return tuple(
        compare_methods(
            found.labels,
            found.scores,
            found.patients,
            reference=config.reference,
            metric=config.compare_by,
            draws=config.draws,
            seed=config.seed,
        )
    )


def _majority(found: JudgedLesions, kind: Kind, config: ExternalConfig) -> tuple[str, Interval]:
    """The constant answer that is right most often, and its accuracy."""
    n, count = len(found.labels), len(found.classes)
    answer, scores = "", np.zeros((n, count))
    if kind == "multi":
        scores[:] = found.labels.mean(axis=0) > 0.5
    else:
        place = int(np.bincount(found.labels, minlength=count).argmax())
        answer, scores[:, place] = found.classes[place], 1.0
    constant: Array = scores[:, -1] if kind == "binary" else scores
    options = {"draws": config.draws, "seed": config.seed}
    accuracy = cluster_bootstrap(found.labels, constant, found.patients, ["accuracy"], **options)
    return answer, accuracy["accuracy"]
