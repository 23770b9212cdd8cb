"""The findings of a study by task: standings, paired comparisons, the most frequent answer."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd

from miram.errors import MiramError
from miram.evaluation.config import AssessmentConfig, ComparisonConfig
from miram.evaluation.predictions import TaskScores, task_scores
from miram.evaluation.statistics.bootstrap import Interval, cluster_bootstrap
from miram.evaluation.statistics.comparison import Comparison, compare_methods
from miram.evaluation.statistics.inputs import Kind, same_folds
from miram.evaluation.statistics.subgroups import MIN_PATIENTS
from miram.models.methods import METHODS
from miram.reporting.facts.study import Study
from miram.reporting.facts.words import interval, listed, number
from miram.reporting.styles import chance_level, metric_direction, metric_label

RANDOM = "random"


@dataclass(frozen=True)
class Standing:
    """A method's main metric on one task."""

    method: str
    estimate: float
    lower: float
    upper: float


@dataclass(frozen=True)
class TaskFinding:
    """What a study says about one task.

    Attributes:
        without_callback: How BENIGN_WITHOUT_CALLBACK was taken; None where it does not matter.
        metric: Main metric in words.
        chance: Its chance level, where there is one.
        standings: All methods, the highest main metric first.
        untrained: The random encoder, None where it was not run.
        trained: The best method that learned without labels, or the best with them where there is
            no other; None where nothing was trained.
        baselines: Hand-crafted features read by the same probe, the highest metric first.
        majority: Share of right answers of always giving the most frequent answer.
        majority_answer: That answer; empty where it differs from label to label.
        comparisons: Other methods against the reference, paired.
        reference: The method that others are compared with.
        compared: The metric of the comparisons in words.
        over_untrained: `trained` against the untrained encoder, None where one is missing.
        over_baseline: `trained` against the best of `baselines`, paired likewise.
    """

    task: str
    kind: str
    classes: tuple[str, ...]
    without_callback: str | None
    metric: str
    chance: float | None
    lesions: int
    patients: int
    standings: tuple[Standing, ...]
    untrained: Standing | None
    trained: Standing | None
    baselines: tuple[Standing, ...]
    majority: Interval
    majority_answer: str
    comparisons: tuple[Comparison, ...]
    reference: str
    compared: str
    over_untrained: Comparison | None
    over_baseline: Comparison | None

    @property
    def chosen_from(self) -> int:
        """Among how many methods `trained` has the highest metric."""
        if self.trained is None or not pretrains(self.trained.method):
            return sum(item.method != RANDOM for item in self.standings)
        return sum(pretrains(item.method) for item in self.standings)

    @property
    def better(self) -> tuple[Comparison, ...]:
        """Methods significantly better than the reference, the largest difference first.

        At 5 % after Holm's correction; none where the patients are too few for a verdict.
        """
        return self._significant(1)

    @property
    def worse(self) -> tuple[Comparison, ...]:
        """Methods significantly worse than the reference, likewise."""
        return self._significant(-1)

    def _significant(self, sign: int) -> tuple[Comparison, ...]:
        found = [row for row in self.comparisons if row.p_holm < 0.05 and not self.too_few]
        found = [row for row in found if sign * _gain(row)[0] > 0]
        return tuple(sorted(found, key=lambda row: -abs(row.difference)))

    @property
    def verdict(self) -> str:
        """Whether any method differs from the reference, in plain sentences."""
        other = "the untrained encoder" if self.reference == RANDOM else self.reference
        if not self.comparisons:
            return f"No method was compared with {other}."
        if self.too_few:
            return f"{self.patients} patients are too few for a verdict: it takes {MIN_PATIENTS}."
        worse = listed(row.method for row in self.worse)
        loss = f" Significantly worse: {worse}." if self.worse else ""
        if not self.better:
            what = "is better than" if loss else "differed significantly from"
            return f"No method {what} {other}.{loss}"
        best, *more = self.better
        gain, lower, upper = _gain(best)
        how = "Pretraining with " if pretrains(best.method) else ""
        so_do = f" So do {listed(row.method for row in more)}." if more else ""
        return (
            f"{how}{best.method} improves {self.compared} by {number(gain)} (95 % interval "
            f"{interval(lower, upper)}) over {other}.{so_do}{loss}"
        )

    @property
    def too_few(self) -> bool:
        """Whether the patients are too few for any verdict."""
        return self.patients < MIN_PATIENTS

    @property
    def drawn(self) -> tuple[str, ...]:
        """Methods that crowded charts are of: the best trained one and the random encoder."""
        return tuple(item.method for item in (self.trained, self.untrained) if item)


def pretrains(method: str) -> bool:
    """Whether a method learns, and does so without labels."""
    return method in METHODS and method != RANDOM and not METHODS[method].needs_labels


def _gain(row: Comparison) -> tuple[float, float, float]:
    """By how much a method is better than the reference, and the ends of its interval."""
    if metric_direction(row.metric) == "lower":
        return -row.difference, -row.upper, -row.lower
    return row.difference, row.lower, row.upper


@lru_cache(maxsize=1)
def study_findings(study: Study) -> tuple[TaskFinding, ...]:
    """The findings of every task in the order asked, computed once for all sections of a page."""
    main = study.main_metrics
    evaluated = set(main.loc[main["method"].isin(list(study.methods)), "task"])
    asked = [task.name for task in study.assessment.all_tasks()]
    tasks = [*(task for task in asked if task in evaluated), *sorted(evaluated - set(asked))]
    return tuple(_finding(study, main[main["task"] == task]) for task in tasks)


def _standings(rows: pd.DataFrame) -> list[Standing]:
    """The highest metric first."""
    return [
        Standing(row.method, row.estimate, row.lower, row.upper)
        for row in rows.sort_values("estimate", ascending=False, kind="stable").itertuples()
    ]


def _finding(study: Study, main: pd.DataFrame) -> TaskFinding:
    config = study.assessment
    comparison, options = config.comparison, {"draws": config.bootstrap_draws, "seed": config.seed}
    # Hand-crafted baselines are on the leaderboard as well, but are no methods of the study.
    of_methods = main["method"].isin(list(study.methods))
    rows, task = main[of_methods], str(main["task"].iloc[0])
    standings = _standings(rows)
    trained = [item for item in standings if item.method != RANDOM]
    unlabeled = [item for item in trained if pretrains(item.method)]
    best = next(iter(unlabeled or trained), None)
    baselines = _standings(main[~of_methods])
    first = study.methods[standings[0].method]
    facts = first.metrics["tasks"][task]
    answer, majority = majority_answer(task_scores(first.predictions, task), facts, config)
    comparisons = paired_with_reference(
        study.compared(comparison), task, facts["kind"], comparison, **options
    )

    def over(other: str) -> Comparison | None:
        """The best trained method against another one, as in the paired comparison."""
        results = {name: one.predictions for name, one in study.methods.items()} | study.baselines
        if best is None or other not in results or other == best.method:
            return None
        if other == comparison.reference:
            return next((row for row in comparisons if row.method == best.method), None)
        pair = ComparisonConfig(reference=other, methods=(best.method,), metric=comparison.metric)
        return next(
            iter(paired_with_reference(results, task, facts["kind"], pair, **options)), None
        )

    return TaskFinding(
        task=task,
        kind=facts["kind"],
        classes=tuple(facts["classes"]),
        without_callback=facts["without_callback"],
        metric=metric_label(rows["metric"].iloc[0]),
        chance=chance_level(rows["metric"].iloc[0]),
        lesions=facts["lesions"],
        patients=facts["patients"],
        standings=tuple(standings),
        untrained=next((item for item in standings if item.method == RANDOM), None),
        trained=best,
        baselines=tuple(baselines),
        majority=majority,
        majority_answer=answer,
        comparisons=tuple(comparisons),
        reference=comparison.reference,
        compared=metric_label(comparison.metric_for(facts["kind"])),
        over_untrained=over(RANDOM),
        over_baseline=over(baselines[0].method) if baselines else None,
    )


def majority_answer(
    found: TaskScores, facts: Mapping[str, Any], config: AssessmentConfig
) -> tuple[str, Interval]:
    """The most frequent answer to a task, and how often it is right on the lesions scored.

    For several labels per lesion it is an empty text, and the share of single labels that are right
    when each gets its more frequent value. `facts` are those of the metrics.
    """
    labels, classes = found.labels, facts["classes"]
    if facts["kind"] == "single":
        place = int(labels.sum(axis=0).argmax())
        answer, right = classes[place], labels[:, [place]]
    else:
        frequent = labels.mean(axis=0) > 0.5
        right = (labels == frequent).astype(np.int64)
        answer = classes[int(frequent[0])] if facts["kind"] == "binary" else ""
    patients = np.repeat(found.patients, right.shape[1])
    hits, options = right.ravel(), {"draws": config.bootstrap_draws, "seed": config.seed}
    shares = cluster_bootstrap(hits, np.ones(len(hits)), patients, ["accuracy"], **options)
    return answer, shares["accuracy"]


def paired_with_reference(
    results: Mapping[str, pd.DataFrame],
    task: str,
    kind: Kind,
    config: ComparisonConfig,
    *,
    draws: int,
    seed: int,
) -> list[Comparison]:
    """Compare methods with the reference on the same patients.

    `results` are predictions by method.

    Returns:
        One comparison per other method; empty where the task is not to be compared, the
        reference did not answer it, or there is no other method.

    Raises:
        MiramError: A method asked for is not in the study, or methods were evaluated on different
            lesions.
    """
    _require_methods(config, results)
    if config.tasks and task not in config.tasks:
        return []
    wanted = {config.reference, *(config.methods or results)}
    found = {
        method: task_scores(predictions, task)
        for method, predictions in results.items()
        if method in wanted and (predictions["task"] == task).any()
    }
    if config.reference not in found or len(found) < 2:
        return []
    reference = found[config.reference]
    for method, item in found.items():
        if not (
            np.array_equal(item.patients, reference.patients)
            and np.array_equal(item.labels, reference.labels)
        ):
            raise MiramError(
                f"{method} and {config.reference} were evaluated on different lesions of {task}: "
                "run `kedro run --pipeline probe` for all methods again"
            )
        if not same_folds(item.seeds, reference.seeds):
            raise MiramError(
                f"{method} and {config.reference} were evaluated in different folds: run `kedro "
                "run --pipeline probe` for all methods again, under the same splits"
            )
    labels, _ = reference.of_kind(kind)
    return compare_methods(
        labels,
        {name: item.of_kind(kind)[1] for name, item in found.items()},
        reference.patients,
        reference=config.reference,
        metric=config.metric_for(kind),
        draws=draws,
        seed=seed,
    )


def _require_methods(config: ComparisonConfig, results: Mapping[str, pd.DataFrame]) -> None:
    # The default reference may be absent, a method that somebody named may not.
    named = {*config.methods, config.reference} - {ComparisonConfig().reference}
    unknown = sorted(named - set(results))
    if unknown:
        raise MiramError(
            f"evaluation.comparison names {unknown[0]!r}, which is not in this study: choose among "
            f"{', '.join(results)}"
        )
