"""The paper's figures and ours on its task, and how far apart they are.

Of the published figures only the percentage is known, so their intervals are binomial (Wilson,
J Am Stat Assoc 22:209, 1927) and take lesions as independent. Ours come with the patient-cluster
interval of the study, and count as fewer lesions by it (Rao & Scott, Biometrics 48:577, 1992).
Differences are those of two independent proportions (Newcombe, Stat Med 17:873, 1998, method 10;
p by the score test of Miettinen & Nurminen, Stat Med 4:213, 1985), since nobody can pair lesions
with predictions that were not published.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from scipy import stats
from statsmodels.stats.proportion import (
    confint_proportions_2indep,
    proportion_confint,
    test_proportions_2indep,
)

from miram.evaluation.comparison import holm

TASK, FIGURE = "pathology4", "accuracy"
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

SIGNIFICANT = 0.05
_LEVEL = 0.95


@dataclass(frozen=True)
class PublishedFigure:
    """An accuracy that the paper states, and which of our methods repeats it."""

    name: str
    accuracy: float
    method: str


PUBLISHED = (
    PublishedFigure("MIRAM-Nyström", 0.610, "miram_nystrom"),
    PublishedFigure("MoCo-v3", 0.602, "moco_v3"),
    PublishedFigure("MAE", 0.589, "mae"),
)
"""Accuracies on CBIS-DDSM as the paper states them; the first is its own method's."""


@dataclass(frozen=True)
class PaperRow:
    """One accuracy on the paper's task.

    Attributes:
        origin: `published`, or `ours`.
        name: Name of the method, as its origin writes it.
        accuracy: Share of right answers.
        lower: Lower end of the 95 % interval.
        upper: Upper end.
        lesions: Test lesions; of published figures, those of the official split.
        patients: Patients of these; None where unknown.
        interval: What the interval rests on: `binomial` or `patients`.
        policy: Split and leakage policy in words.
        source: Where the figure is from.
        fine_tuned: Whether the encoder was fine-tuned; else a linear probe read it as it was.
    """

    origin: Literal["published", "ours"]
    name: str
    accuracy: float
    lower: float
    upper: float
    lesions: int
    patients: int | None
    interval: Literal["binomial", "patients"]
    policy: str
    source: str
    fine_tuned: bool

    @property
    def ends(self) -> str:
        """The interval in percent."""
        if not np.isfinite([self.lower, self.upper]).all():
            return "not defined"
        return f"{100 * self.lower:.1f} to {100 * self.upper:.1f} %"

    @property
    def effective_lesions(self) -> float:
        """Independent lesions that would give as wide an interval.

        The number of lesions itself where the interval is binomial, undefined or narrower.
        """
        spread = (self.upper - self.lower) / (2 * stats.norm.ppf((1 + _LEVEL) / 2))
        if self.interval == "binomial" or not spread > 0:
            return float(self.lesions)
        independent = self.accuracy * (1 - self.accuracy) / spread**2
        return float(np.clip(independent, 1, self.lesions))


@dataclass(frozen=True)
class PaperDifference:
    """The accuracy of one row minus that of another.

    Attributes:
        first: The one row.
        second: The other row.
        difference: Difference of the accuracies.
        lower: Lower end of its 95 % interval.
        upper: Upper end.
        p_value: Two-sided.
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
    def inside_noise(self) -> bool:
        """Whether chance alone explains the difference well enough."""
        return not self.p_holm < SIGNIFICANT


def published_row(item: PublishedFigure) -> PaperRow:
    """A published accuracy with its binomial interval."""
    lower, upper = proportion_confint(
        item.accuracy * TEST_LESIONS, TEST_LESIONS, alpha=1 - _LEVEL, method="wilson"
    )
    return PaperRow(
        origin="published",
        name=item.name,
        accuracy=item.accuracy,
        lower=float(lower),
        upper=float(upper),
        lesions=TEST_LESIONS,
        patients=None,
        interval="binomial",
        policy="official, taken as it is",
        source=PAPER,
        fine_tuned=True,
    )


def our_row(method: str, found: Mapping[str, Any], *, fine_tuned: bool) -> PaperRow:
    """An accuracy of a study with its interval over patients.

    Args:
        method: Name of the method.
        found: Its `metrics.json`, which holds the task.
        fine_tuned: Whether that is of the fine-tuned encoder.
    """
    task = found["tasks"][TASK]
    figure = task["figures"][FIGURE]
    return PaperRow(
        origin="ours",
        name=method,
        accuracy=figure["estimate"],
        lower=figure["lower"],
        upper=figure["upper"],
        lesions=task["lesions"],
        patients=task["patients"],
        interval="patients",
        policy=f"{found['strategy']}, leakage {found['leakage']}",
        source="this study",
        fine_tuned=fine_tuned,
    )


def tested_differences(pairs: list[tuple[PaperRow, PaperRow]]) -> tuple[PaperDifference, ...]:
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
