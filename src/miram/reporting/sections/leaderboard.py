"""All methods on all tasks: the forest plot of each, and a table of all metrics."""

from typing import Any

import pandas as pd

from miram.mammography.phantom import PhantomConfig, phantom_ceiling
from miram.reporting.charts.forest import Forest, ForestRow, forest_of
from miram.reporting.facts.findings import RANDOM, Standing, TaskFinding, study_findings
from miram.reporting.facts.leaderboard import FINETUNED
from miram.reporting.facts.study import Study
from miram.reporting.sections.section import Section
from miram.reporting.styles import MAIN_METRICS, metric_direction, metric_label


class Leaderboard(Section):
    """Every task with its forest plot and paired differences, and behind a fold all metrics."""

    title = "Leaderboard"
    template = "leaderboard.html"

    def applies(self, study: Study) -> bool:
        """Whether any task was evaluated."""
        return bool(study_findings(study))

    def data(self, study: Study) -> dict[str, Any]:
        """The tasks in the order asked, each with its plot and its table."""
        findings, board = study_findings(study), study.leaderboard
        outside = (board["estimate"] < board["lower"]) | (board["estimate"] > board["upper"])
        return {
            "line": _line(findings),
            "tasks": [
                {
                    "finding": finding,
                    "plot": task_forest(board, finding),
                    "metrics": metric_rows(board, finding.task),
                    "best": best_estimates(board, finding.task),
                }
                for finding in findings
            ],
            "callbacks": {finding.without_callback for finding in findings},
            "label": metric_label,
            "better": metric_direction,
            "outside": [metric_label(name) for name in board.loc[outside, "metric"].unique()],
            "ceiling": _ceiling(study),
        }


def _line(findings: tuple[TaskFinding, ...]) -> str:
    decided = [one for one in findings if one.comparisons and not one.too_few]
    if not decided:
        return "No task allows a verdict on differences between methods"
    reference = decided[0].reference
    other = "the untrained encoder" if reference == RANDOM else reference
    differing = sum(bool(one.better or one.worse) for one in decided)
    what = f"method differed significantly from {other}"
    if len(decided) == 1:
        return f"{'A' if differing else 'No'} {what}"
    return f"In {differing or 'none'} of {len(decided)} tasks a {what}"


def _ceiling(study: Study) -> float | None:
    """The best AUC that the phantom's pixels allow on the evaluated lesions; None for real data."""
    if study.source != "phantom" or "phantom" not in study.parameters:
        return None
    official = "test" in set(study.splits["split"])
    config = PhantomConfig.model_validate(study.parameters["phantom"])
    return phantom_ceiling(config, "test" if official else None)


def row_name(row: Any) -> str:
    """A row of the leaderboard as it is called: by its method, and its protocol if fine-tuned."""
    return f"{row.method}, fine-tuned" if row.protocol == FINETUNED else row.method


def task_forest(board: pd.DataFrame, finding: TaskFinding) -> Forest:
    """All methods and baselines on one task, with their paired differences."""
    main = board[(board["task"] == finding.task) & board["metric"].isin(MAIN_METRICS)]
    over = {row.method: row for row in finding.comparisons}
    rows = [
        ForestRow(
            Standing(row.method, row.estimate, row.lower, row.upper),
            row_name(row),
            over_reference=None if row.protocol == FINETUNED else over.get(row.method),
        )
        for row in main.itertuples()
    ]
    return forest_of(finding, rows, len(rows))


def metric_rows(board: pd.DataFrame, task: str) -> dict[str, dict[str, Any]]:
    """The rows of the leaderboard on one task by name and metric, the best main metric first."""
    here = board[board["task"] == task]
    names = here[here["metric"].isin(MAIN_METRICS)].apply(row_name, axis=1)
    found: dict[str, dict[str, Any]] = {name: {} for name in names}
    for row in here.itertuples():
        found[row_name(row)][str(row.metric)] = row
    return found


def best_estimates(board: pd.DataFrame, task: str) -> dict[str, float]:
    """The best estimate of each metric of a task."""
    groups = board[board["task"] == task].groupby("metric")["estimate"]
    return {
        str(name): values.max() if metric_direction(str(name)) == "higher" else values.min()
        for name, values in groups
    }
