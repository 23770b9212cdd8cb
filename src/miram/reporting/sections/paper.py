"""The paper's accuracies beside ours, with the noise that so few test lesions leave."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy import stats
from statsmodels.stats.proportion import (
    confint_proportions_2indep,
    proportion_confint,
    test_proportions_2indep,
)

from miram.evaluation.statistics.comparison import holm
from miram.reporting.facts.study import Study
from miram.reporting.facts.words import listed, p_value, percent, percents
from miram.reporting.sections.section import Section

TASK, METRIC = "pathology4", "accuracy"
PAPER = "arXiv 2503.07157 v4 (23 Jan 2026)"
TEST_CLASSES = {
    "benign mass": 231,
    "malignant mass": 147,
    "benign calc": 197,
    "malignant calc": 129,
}
"""Lesions of the official test parts by class, counted on the data set's own tables."""
TEST_LESIONS = sum(TEST_CLASSES.values())
LEAKING_PATIENTS = 31
"""Patients in both official parts once masses and calcifications are merged."""

_ALPHA = 0.05
_NEAR = 0.95  # share of the test lesions from which a study counts as the same test


PUBLISHED = {
    "miram_nystrom": ("MIRAM-Nyström", 0.610),
    "moco_v3": ("MoCo-v3", 0.602),
    "mae": ("MAE", 0.589),
}
"""Names and accuracies on CBIS-DDSM as the paper states them, by our method that reproduces each;
the first is its own method's."""


@dataclass(frozen=True)
class PaperRow:
    """One accuracy on the paper's task.

    Attributes:
        name: Name of the method, as the paper or the study writes it.
        accuracy: Share of right answers, with the ends of its 95 % interval.
        lesions: Test lesions; of published accuracies, those of the official split.
        patients: Patients of these; None for published accuracies, whose interval is binomial.
        policy: Split and leakage policy in words.
        fine_tuned: Whether the encoder was fine-tuned; else a linear probe read it frozen.
    """

    name: str
    accuracy: float
    lower: float
    upper: float
    lesions: int
    patients: int | None
    policy: str
    fine_tuned: bool

    @property
    def published(self) -> bool:
        """Whether it is of the paper; else it is ours."""
        return self.patients is None

    @property
    def effective_lesions(self) -> float:
        """Independent lesions that would give an interval of this width.

        The number of lesions itself where the interval is binomial, undefined or narrower.
        """
        spread = (self.upper - self.lower) / (2 * stats.norm.ppf(1 - _ALPHA / 2))
        if self.patients is None or not spread > 0:
            return float(self.lesions)
        independent = self.accuracy * (1 - self.accuracy) / spread**2
        return float(np.clip(independent, 1, self.lesions))


@dataclass(frozen=True)
class PaperDifference:
    """The accuracy of one row minus that of another, its 95 % interval and two-sided p.

    Attributes:
        p_holm: After Holm's correction over all differences of the table.
    """

    first: PaperRow
    second: PaperRow
    difference: float
    lower: float
    upper: float
    p_value: float
    p_holm: float

    @property
    def within_noise(self) -> bool:
        """Whether chance alone explains the difference well enough."""
        return not self.p_holm < _ALPHA


class Paper(Section):
    """Published accuracies and ours on the same task, with tests where the test is the same."""

    title = "Comparison with the paper"
    template = "paper.html"

    def applies(self, study: Study) -> bool:
        """Whether the paper's task was evaluated, by a probe or fine-tuned."""
        metrics = [result.metrics for result in study.methods.values()]
        return any(TASK in found["tasks"] for found in (*metrics, *study.fine_tuned.values()))

    def data(self, study: Study) -> dict[str, Any]:
        """Rows, differences and sentences."""
        metrics = {method: result.metrics for method, result in study.methods.items()}
        table = paper_table(metrics, source=study.source, fine_tuned=study.fine_tuned)
        ours = [row for row in table.rows if not row.published]
        best = max(ours, key=lambda row: row.accuracy)
        lead = table.rows[0]
        return {
            "paper": table,
            "publication": PAPER,
            "line": f"Published: {_in_percent(lead)}. Here: {_in_percent(best)}, "
            f"the highest of {len(ours)}",
        }


def _in_percent(row: PaperRow) -> str:
    return f"{percent(row.accuracy)} ({percents(row)}), {row.lesions} lesions"


def _published_row(name: str, accuracy: float) -> PaperRow:
    lower, upper = proportion_confint(
        accuracy * TEST_LESIONS, TEST_LESIONS, alpha=_ALPHA, method="wilson"
    )
    return PaperRow(
        name=name,
        accuracy=accuracy,
        lower=float(lower),
        upper=float(upper),
        lesions=TEST_LESIONS,
        patients=None,
        policy="official, taken as it is",
        fine_tuned=True,
    )


def _our_row(method: str, found: Mapping[str, Any], *, fine_tuned: bool) -> PaperRow:
    task = found["tasks"][TASK]
    metric = task["metrics"][METRIC]
    return PaperRow(
        name=method,
        accuracy=metric["estimate"],
        lower=metric["lower"],
        upper=metric["upper"],
        lesions=task["lesions"],
        patients=task["patients"],
        policy=f"{found['strategy']}, leakage {found['leakage']}",
        fine_tuned=fine_tuned,
    )


def _tested(pairs: list[tuple[PaperRow, PaperRow]]) -> tuple[PaperDifference, ...]:
    """Differences of accuracies, the first of a pair minus the second; Holm over all of them."""
    raw = [_difference(first, second) for first, second in pairs]
    corrected = holm([item.p_value for item in raw])
    return tuple(replace(item, p_holm=p) for item, p in zip(raw, corrected, strict=True))


def _difference(first: PaperRow, second: PaperRow) -> PaperDifference:
    n, m = first.effective_lesions, second.effective_lesions
    counts = (first.accuracy * n, n, second.accuracy * m, m)
    lower, upper = confint_proportions_2indep(*counts, compare="diff", method="newcomb")
    p = float(test_proportions_2indep(*counts, compare="diff", method="score").pvalue)
    difference = first.accuracy - second.accuracy
    return PaperDifference(first, second, difference, float(lower), float(upper), p, p)


@dataclass(frozen=True)
class PaperTable:
    """The paper's accuracies, then ours; the paper's lead over its baselines, and ours over it."""

    rows: tuple[PaperRow, ...]
    differences: tuple[PaperDifference, ...]
    sentences: tuple[str, ...]


def paper_table(
    metrics: Mapping[str, Mapping[str, Any]],
    *,
    source: str | None,
    fine_tuned: Mapping[str, Mapping[str, Any]] | None = None,
) -> PaperTable:
    """Put the paper's accuracies beside those of a study.

    An accuracy of ours is tested against the paper's only where the test is the same: the data
    set's official test split, with at least 95 % of its lesions evaluated.

    Args:
        metrics: `metrics.json` by method.
        source: The study's source of data, such as `cbis_ddsm`.
        fine_tuned: `finetuned_metrics.json` by method. The paper's encoders are fine-tuned: where
            ours was on the paper's task, its accuracy replaces that of the linear probe.
    """
    published = {method: _published_row(*stated) for method, stated in PUBLISHED.items()}
    ours = _our_rows(metrics, fine_tuned=False) | _our_rows(fine_tuned or {}, fine_tuned=True)
    leader, *others = published.values()
    pairs = [(leader, other) for other in others]
    if not (reasons := _not_the_same_test(ours, source)):
        pairs += [(ours[name], row) for name, row in published.items() if name in ours]
    differences = _tested(pairs)
    sentences = [
        *_on_the_paper(leader),
        *map(_in_words, differences),
        *_on_ours(ours, reasons),
        _on_leakage(ours),
    ]
    return PaperTable((*published.values(), *ours.values()), differences, tuple(sentences))


def _our_rows(metrics: Mapping[str, Mapping[str, Any]], *, fine_tuned: bool) -> dict[str, PaperRow]:
    return {
        method: _our_row(method, found, fine_tuned=fine_tuned)
        for method, found in metrics.items()
        if TASK in found["tasks"]
    }


def _not_the_same_test(ours: Mapping[str, PaperRow], source: str | None) -> list[str]:
    """Why accuracies of ours cannot be tested against the paper's; empty where they can."""
    if not ours:
        return [f"this study did not evaluate the task {TASK}"]
    row = next(iter(ours.values()))
    reasons = []
    if source != "cbis_ddsm":
        reasons.append(f"the data are another collection ({source or 'unknown'})")
    if not row.policy.startswith("official"):
        reasons.append("lesions were evaluated by cross-validation, not on the official test split")
    if row.lesions < _NEAR * TEST_LESIONS:
        reasons.append(f"{row.lesions} instead of {TEST_LESIONS} lesions were evaluated")
    return reasons


def _on_the_paper(leader: PaperRow) -> list[str]:
    benign = TEST_CLASSES["benign mass"] + TEST_CLASSES["benign calc"]
    answer = max(TEST_CLASSES, key=lambda name: TEST_CLASSES[name])
    constant, two = TEST_CLASSES[answer] / TEST_LESIONS, benign / TEST_LESIONS
    reach = (leader.upper - leader.lower) / 2
    return [
        "The published accuracies are almost certainly for the task with four classes: always "
        f"answering “{answer}” is right for {percent(constant)} there. With two classes, always "
        f"answering “benign” would be right for {percent(two)}.",
        f"On {TEST_LESIONS} lesions chance alone moves an accuracy of {percent(leader.accuracy)} "
        f"by {100 * reach:.1f} points either way, {reach * TEST_LESIONS:.0f} lesions: its 95 % "
        f"interval is {percents(leader)}. This treats lesions as independent; those of one patient "
        "are not, so the true interval is wider.",
        "The published methods share their test lesions. A paired test would be more powerful than "
        "those below, but it needs predictions, which were not published.",
    ]


def _in_words(item: PaperDifference) -> str:
    first, second = (
        f"the published {row.name}" if row.published else f"our {row.name}"
        for row in (item.first, item.second)
    )
    lesions = round(abs(item.difference) * TEST_LESIONS)
    verdict = (
        "within the noise, which shows neither a difference nor equality"
        if item.within_noise
        else "more than chance explains"
    )
    return (
        f"{first[0].upper()}{first[1:]} is {_points(item.difference)} {second}, or "
        f"{lesions} of {TEST_LESIONS} lesions (95 % interval of the difference "
        f"{100 * item.lower:+.1f} to {100 * item.upper:+.1f} points, p {_p(item.p_value)}, after "
        f"Holm {_p(item.p_holm)}): {verdict}."
    )


def _points(difference: float) -> str:
    if round(100 * difference, 1) == 0:
        return "level with"
    return f"{abs(100 * difference):.1f} points {'above' if difference > 0 else 'below'}"


def _on_ours(ours: Mapping[str, PaperRow], reasons: list[str]) -> list[str]:
    if reasons:
        return [f"No accuracy of ours is tested against the paper's: {'; '.join(reasons)}."]
    fewest = min(row.effective_lesions for row in ours.values())
    return [
        *_on_protocol(ours),
        f"Our intervals resample patients. They are as wide as those of {fewest:.0f} independent "
        "lesions or more, and the tests use these effective numbers. The summary compares our "
        "methods in pairs, which is more powerful than this table.",
    ]


def _on_protocol(ours: Mapping[str, PaperRow]) -> list[str]:
    tuned = [name for name, row in ours.items() if row.fine_tuned]
    if len(tuned) == len(ours):
        return []
    whose = f"Our accuracies except those of {listed(tuned)}" if tuned else "Our accuracies"
    return [
        f"{whose} are those of a linear probe on the frozen encoder, the published ones of "
        "fine-tuned encoders: a difference may be due to the protocol."
    ]


def _on_leakage(ours: Mapping[str, PaperRow]) -> str:
    text = (
        f"{LEAKING_PATIENTS} patients are in both parts of the official split; the published "
        "accuracies are taken to keep them in training."
    )
    policies = {row.policy for row in ours.values()}
    if policies == {"official, leakage drop"}:
        return text + (
            " Ours leave them out of training and pretraining (leakage policy “drop”), which makes "
            "our test the harder one."
        )
    if policies == {"official, leakage official"}:
        return text + (
            " So do ours (leakage policy “official”): use them only beside the published ones."
        )
    return text


def _p(value: float) -> str:
    text = p_value(value)
    return text if text.startswith("<") else f"= {text}"
