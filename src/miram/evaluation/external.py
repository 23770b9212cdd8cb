"""Figures of any model's scores, by the same rules as those of our own encoders.

A table of scores and a table of labels are all that is needed, so that models trained elsewhere
stand beside ours: the same figures, the same patient-cluster intervals, the same paired tests.
From the predictions of a finished study come, digit for digit, its own figures.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
from pydantic import Field

from miram.configuration import Config
from miram.errors import MiramError
from miram.evaluation.bootstrap import DRAWS, Interval, cluster_bootstrap
from miram.evaluation.comparison import Comparison, compare_methods
from miram.evaluation.delong import AucInterval, AucTest, auc_interval, auc_test
from miram.evaluation.external_lesions import Array, JudgedLesions, judged_lesions
from miram.evaluation.external_tables import rows_where
from miram.evaluation.kinds import METRICS, Kind
from miram.evaluation.metrics import figures as plain_figures
from miram.evaluation.protocols import MAIN
from miram.evaluation.seeds import seed_deviation
from miram.evaluation.targets import Skipped, WithoutCallback
from miram.evaluation.tasks import TASKS, TaskConfig


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
        MAIN, description="whose scores are read from a table with a column `protocol`"
    )
    reference: str | None = Field(None, description="the model that others are compared with")
    compare_by: str | None = Field(
        None, description="figure compared; the area under the ROC curve if not given"
    )
    draws: int = Field(DRAWS, ge=100, description="bootstrap draws")
    seed: int = Field(0, ge=0, description="seed of the draws")


@dataclass(frozen=True)
class ModelFigures:
    """What one model achieved.

    Attributes:
        figures: Intervals by name of the figure; of several trainings those of their mean.
        seeds: Number of trainings.
        seed_deviation: Standard deviation over trainings by name of the figure; None for a single
            one, or where the figure is undefined for one of them.
        delong: Area under the ROC curve with DeLong's interval, clustered by patient; of binary
            tasks and a single training.
        delong_test: DeLong's paired test against the reference; where both have a single training.
    """

    figures: dict[str, Interval]
    seeds: int
    seed_deviation: dict[str, float | None]
    delong: AucInterval | None
    delong_test: AucTest | None


@dataclass(frozen=True)
class Evaluation:
    """The figures of several models on the same lesions.

    Attributes:
        task: Name of the task.
        kind: `binary`, `single` or `multi`.
        classes: Names of the classes judged; of a binary task both.
        lesions: Lesions judged.
        patients: Patients of these.
        majority_answer: The most frequent answer; empty for `multi`.
        majority: Accuracy of always giving it; for `multi`, of giving each label its more
            frequent value, where all labels of a lesion have to be right.
        models: Figures by model, in the order given.
        comparisons: Every other model against the reference, paired; Holm over all of them.
        skipped: Lesions and classes that were left out, and why.
        unscored: Lesions of the label table that no model has scored.
        config: What was asked.
    """

    task: str
    kind: Kind
    classes: tuple[str, ...]
    lesions: int
    patients: int
    majority_answer: str
    majority: Interval
    models: dict[str, ModelFigures]
    comparisons: tuple[Comparison, ...]
    skipped: tuple[Skipped, ...]
    unscored: int
    config: ExternalConfig

    def table(self) -> pd.DataFrame:
        """One row per model and figure; tests stand in the row of the figure they are of."""
        tests = {(row.method, row.metric): row for row in self.comparisons}
        rows = [
            {
                "method": name,
                "task": self.task,
                "figure": figure,
                "estimate": interval.estimate,
                "lower": interval.lower,
                "upper": interval.upper,
                "lesions": interval.lesions,
                "patients": interval.patients,
                "undefined_draws": interval.undefined_draws,
                "seeds": model.seeds,
                "seed_deviation": model.seed_deviation[figure],
                **_test_cells(tests.get((name, figure))),
                **_delong_cells(model if figure == "auc" else None),
            }
            for name, model in self.models.items()
            for figure, interval in model.figures.items()
        ]
        return pd.DataFrame(rows)

    def plain(self) -> dict[str, Any]:
        """The evaluation as JSON values; what is not defined is None."""
        found: dict[str, Any] = asdict(self) | {"config": self.config.model_dump(mode="json")}
        return {name: json_values(value) for name, value in found.items()}


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
        The figures.

    Raises:
        MiramError: A table is not in order, models are not scored on the same lesions and
            classes, the lesions cannot answer the task, or a name is unknown.
    """
    task = _task(config.task) if task is None else task
    _check_names(config, scores, task)
    found = judged_lesions(
        {
            name: rows_where(table, "protocol", config.protocol, f"model {name}")
            for name, table in scores.items()
        },
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
        models={name: _figures(name, found, task.kind, config) for name in found.scores},
        comparisons=_comparisons(found, config),
        skipped=found.skipped,
        unscored=found.unscored,
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
    if config.compare_by is not None and config.compare_by not in METRICS[task.kind]:
        raise MiramError(
            f"models cannot be compared by {config.compare_by!r} on the {task.kind} task "
            f"{task.name!r}: choose among {', '.join(METRICS[task.kind])}"
        )


def _figures(name: str, found: JudgedLesions, kind: Kind, config: ExternalConfig) -> ModelFigures:
    scores = found.scores[name]
    intervals = cluster_bootstrap(
        found.labels, scores, found.patients, draws=config.draws, seed=config.seed
    )
    alone = [plain_figures(found.labels, one) for one in scores.each]
    spread = {figure: seed_deviation([one[figure] for one in alone]) for figure in intervals}
    if kind != "binary" or len(alone) > 1:
        return ModelFigures(intervals, len(alone), spread, None, None)
    (only,), test = scores.each, None
    if config.reference not in (None, name):
        base = found.scores[str(config.reference)].each
        test = auc_test(found.labels, only, base[0], found.patients) if len(base) == 1 else None
    delong = auc_interval(found.labels, only, found.patients)
    return ModelFigures(intervals, 1, spread, delong, test)


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


def _test_cells(row: Comparison | None) -> dict[str, Any]:
    cells = ("reference", "difference", "p_value", "p_holm")
    found = {name: getattr(row, name, None) for name in cells}
    ends = {f"difference_{end}": getattr(row, end, None) for end in ("lower", "upper")}
    return found | ends


def _delong_cells(model: ModelFigures | None) -> dict[str, Any]:
    interval = model.delong if model else None
    test = model.delong_test if model else None
    return {
        "delong_lower": getattr(interval, "lower", None),
        "delong_upper": getattr(interval, "upper", None),
        "delong_p": getattr(test, "p_value", None),
    }


def json_values(value: Any) -> Any:
    """A result as JSON values; what is not defined is None."""
    if isinstance(value, dict):
        return {str(key): json_values(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [json_values(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
