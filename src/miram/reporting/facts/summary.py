"""The findings of a study, ready to be put into careful words."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from miram.evaluation.config import ComparisonConfig
from miram.evaluation.statistics.bootstrap import Interval, cluster_bootstrap
from miram.evaluation.statistics.comparison import Comparison
from miram.reporting.charts.roc import TaskScores, paired_with_reference, task_scores
from miram.reporting.charts.styles import MAIN_METRICS, metric_label
from miram.reporting.facts.study import Study

CHANCE = 0.5  # area under the ROC curve of an answer that knows nothing
RANDOM = "random"
VERDICT_PATIENTS = 30
"""Under this number of patients the page calls a task undecided, whatever the figures."""


@dataclass(frozen=True)
class Standing:
    """A method's main figure on one task."""

    method: str
    estimate: float
    lower: float
    upper: float

    def overlaps(self, other: "Standing") -> bool | None:
        """Whether two intervals share a value; None where one of them is undefined."""
        if not np.isfinite([self.lower, self.upper, other.lower, other.upper]).all():
            return None
        return self.lower <= other.upper and other.lower <= self.upper


@dataclass(frozen=True)
class TaskFinding:
    """What a study says about one task.

    Attributes:
        task: Name of the task.
        kind: `binary`, `single` or `multi`.
        classes: Names of the classes.
        without_callback: How BENIGN_WITHOUT_CALLBACK was taken; None where it does not matter.
        metric: Main metric in words.
        lesions: Lesions judged.
        patients: Patients of these.
        leaders: Methods that share the highest main figure.
        untrained: The random encoder, None where it was not run.
        trained: The best trained method, None where there is none.
        anchors: Hand-crafted features before the same probe, the highest figure first.
        methods: Number of methods compared.
        majority: Share of right answers of always giving the most frequent answer.
        majority_answer: That answer; empty where it differs from label to label.
        comparisons: Other methods against the reference, paired.
        reference: The method that others are compared with.
        compared: The figure of the comparisons in words.
    """

    task: str
    kind: str
    classes: tuple[str, ...]
    without_callback: str | None
    metric: str
    lesions: int
    patients: int
    leaders: tuple[Standing, ...]
    untrained: Standing | None
    trained: Standing | None
    anchors: tuple[Standing, ...]
    methods: int
    majority: Interval
    majority_answer: str
    comparisons: tuple[Comparison, ...]
    reference: str
    compared: str

    @property
    def overlap(self) -> bool | None:
        """Whether the intervals of the best trained and the random encoder share a value.

        None where there is no such pair, or an interval is undefined.
        """
        if self.trained is None or self.untrained is None:
            return None
        return self.trained.overlaps(self.untrained)

    @property
    def baselines_ahead(self) -> int:
        """Anchors with a higher figure than every method."""
        return sum(item.estimate > self.leaders[0].estimate for item in self.anchors)

    @property
    def against_guessing(self) -> str:
        """Where the interval of the highest figure lies: `above`, `below` or `around` guessing.

        Empty where the interval is undefined.
        """
        best = self.leaders[0]
        if not np.isfinite([best.lower, best.upper]).all():
            return ""
        return "above" if best.lower > CHANCE else "below" if best.upper < CHANCE else "around"

    @property
    def outside_noise(self) -> dict[str, tuple[str, ...]]:
        """Methods `above` and `below` the reference by more than chance explains.

        At 5 % after Holm's correction; both empty where the patients are too few for a verdict.
        """
        sure = [row for row in self.comparisons if row.p_holm < 0.05 and not self.too_few]
        return {
            "above": tuple(row.method for row in sure if row.difference > 0),
            "below": tuple(row.method for row in sure if row.difference < 0),
        }

    @property
    def too_few(self) -> bool:
        """Whether the patients are too few for any verdict."""
        return self.patients < VERDICT_PATIENTS


def task_findings(
    study: Study, comparison: ComparisonConfig | None = None, *, draws: int, seed: int
) -> list[TaskFinding]:
    """Gather the findings of every task.

    Args:
        study: The finished study.
        comparison: Which methods are compared with which; by default all with the random encoder.
        draws: Bootstrap draws of figures that only the page shows.
        seed: Seed of these draws.
    """
    board = study.probes
    main = board[board["metric"].isin(MAIN_METRICS)]
    methods = main[main["method"].isin(list(study.methods))]
    return [
        _finding(study, main[main["task"] == task], comparison or ComparisonConfig(), draws, seed)
        for task in methods["task"].unique()
    ]


def _standings(rows: pd.DataFrame) -> list[Standing]:
    """The highest figure first."""
    return [
        Standing(row["method"], row["estimate"], row["lower"], row["upper"])
        for _, row in rows.sort_values("estimate", ascending=False, kind="stable").iterrows()
    ]


def _finding(
    study: Study,
    main: pd.DataFrame,
    comparison: ComparisonConfig,
    draws: int,
    seed: int,
) -> TaskFinding:
    # Hand-crafted anchors are on the leaderboard as well, but are no methods of the study.
    of_methods = main["method"].isin(list(study.methods))
    rows, task = main[of_methods], str(main["task"].iloc[0])
    standings = _standings(rows)
    method = standings[0].method
    facts = study.methods[method].metrics["tasks"][task]
    scores = task_scores(study.methods[method].predictions, task)
    tables = study.compared(comparison)
    answer, majority = majority_answer(scores, facts["kind"], facts["classes"], draws, seed)
    return TaskFinding(
        task=task,
        kind=facts["kind"],
        classes=tuple(facts["classes"]),
        without_callback=facts["without_callback"],
        metric=metric_label(rows["metric"].iloc[0]),
        lesions=facts["lesions"],
        patients=facts["patients"],
        leaders=tuple(item for item in standings if item.estimate == standings[0].estimate),
        untrained=next((item for item in standings if item.method == RANDOM), None),
        trained=next((item for item in standings if item.method != RANDOM), None),
        anchors=tuple(_standings(main[~of_methods])),
        methods=len(standings),
        majority=majority,
        majority_answer=answer,
        comparisons=tuple(
            paired_with_reference(tables, task, facts["kind"], comparison, draws=draws, seed=seed)
        ),
        reference=comparison.reference,
        compared=metric_label(comparison.metric_for(facts["kind"])),
    )


def majority_answer(
    found: TaskScores, kind: str, classes: list[str], draws: int, seed: int
) -> tuple[str, Interval]:
    """The most frequent answer, and how often it is right with its patient-cluster interval.

    Args:
        found: Labels of a task.
        kind: `binary`, `single` or `multi`.
        classes: All class names; of a binary task, both.
        draws: Bootstrap draws.
        seed: Seed of the draws.

    Returns:
        The answer, and its share of right answers; for `multi` an empty text, and the share of
        single labels that are right when each gets its more frequent value.
    """
    labels = found.labels
    if kind == "single":
        place = int(labels.sum(axis=0).argmax())
        answer, right = classes[place], labels[:, [place]]
    else:
        frequent = labels.mean(axis=0) > 0.5
        right = (labels == frequent).astype(np.int64)
        answer = classes[int(frequent[0])] if kind == "binary" else ""
    patients = np.repeat(found.patients, right.shape[1])
    hits = right.ravel()
    shares = cluster_bootstrap(
        hits, np.ones(len(hits)), patients, ["accuracy"], draws=draws, seed=seed
    )
    return answer, shares["accuracy"]
