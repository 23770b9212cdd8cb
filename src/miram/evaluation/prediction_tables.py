"""What predictions tell beyond their metrics: reliability curves, and metrics by subgroup."""

from dataclasses import asdict
from typing import Any

import pandas as pd

from miram.evaluation.config import AssessmentConfig
from miram.evaluation.predictions import TaskScores, judged_lesions, task_scores
from miram.evaluation.statistics.calibration import reliability_curve
from miram.evaluation.statistics.inputs import Kind
from miram.evaluation.statistics.metrics import main_metric
from miram.evaluation.statistics.subgroups import SubgroupRow, subgroup_rows
from miram.evaluation.statistics.weighted import Predictions
from miram.evaluation.tasks.definitions import TaskConfig

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

    Args:
        predictions: Table of `prediction_table`.
        metrics: What `assess_features` gave with it.

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

    Args:
        predictions: Table of `prediction_table`.
        lesions: Lesion table.
        metrics: What `assess_features` gave with the predictions.
        config: Which subgroups, and how many draws.

    Returns:
        `SUBGROUP_COLUMNS`, one row per task, subgroup, value and metric. The main metric has the
        difference from all other lesions and a verdict. A variable that the table does not
        fill, that has one value, or that the task itself asks for is left out.
    """
    rows: list[dict[str, Any]] = []
    for task, found in metrics["tasks"].items():
        asked = config.task(task)
        scored = task_scores(predictions, task)
        judged = lesions.set_index("lesion_id").loc[judged_lesions(predictions, task)]
        for variable in config.subgroups:
            if _has_subgroups(judged, variable, asked):
                by_value = _subgroups(scored, found["kind"], judged[variable], config)
                rows += [{"task": task, **cells} for row in by_value for cells in _cells(row)]
    return _with_split(pd.DataFrame(rows), metrics, SUBGROUP_COLUMNS)


def _has_subgroups(judged: pd.DataFrame, variable: str, task: TaskConfig) -> bool:
    if variable not in judged or variable in (task.column, task.by):
        return False
    return judged[variable].nunique(dropna=True) > 1


def _subgroups(
    scored: TaskScores, kind: Kind, values: pd.Series, config: AssessmentConfig
) -> list[SubgroupRow]:
    # The macro metric needs every class in a subgroup, which the micro one beside it does not.
    beside = [] if kind == "binary" else ["auc_micro"]
    return subgroup_rows(
        *scored.of_kind(kind),
        scored.patients,
        values.astype(object).where(values.notna(), None).to_numpy(),
        subgroup=str(values.name),
        metrics=[main_metric(kind), *beside],
        draws=config.bootstrap_draws,
        seed=config.seed,
    )


def _cells(row: SubgroupRow) -> list[dict[str, Any]]:
    """One entry per metric; what only the judged metric has is missing in the others."""
    common = {"subgroup": row.subgroup, "value": row.value}
    return [
        {
            **common,
            "metric": metric,
            "estimate": interval.estimate,
            "lower": interval.lower,
            "upper": interval.upper,
            "lesions": row.lesions,
            "patients": row.patients,
            "undefined_draws": interval.undefined_draws,
            **(_verdict(row) if metric == row.metric else {}),
        }
        for metric, interval in row.intervals.items()
    ]


def _verdict(row: SubgroupRow) -> dict[str, Any]:
    found: dict[str, Any] = {"verdict": row.verdict, "p_value": row.p_value, "p_holm": row.p_holm}
    if row.difference is not None:
        found["difference"] = row.difference.estimate
        found["difference_lower"] = row.difference.lower
        found["difference_upper"] = row.difference.upper
    return found


def _with_split(
    table: pd.DataFrame, metrics: dict[str, Any], columns: tuple[str, ...]
) -> pd.DataFrame:
    """Which split the metrics rest on stands in every table, whatever it is taken out of."""
    split = {"strategy": metrics["strategy"], "leakage": metrics["leakage"]}
    return table.assign(**split).reindex(columns=list(columns))
