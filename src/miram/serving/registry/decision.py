"""Is a new model the champion: decided from stored predictions on the same lesions, in pairs.

Each comparison looks at the same test lesions again, so that among many challengers one will
pass by luck: the reason counts them. A champion is better on these lesions, not in general.
"""

from dataclasses import dataclass
from typing import Literal

import pandas as pd
from pydantic import Field

from miram.configuration import Config
from miram.errors import MiramError
from miram.evaluation.predictions import evaluated_lesions, task_scores
from miram.evaluation.statistics import StatisticsError
from miram.evaluation.statistics.comparison import Comparison, compare_methods
from miram.evaluation.statistics.inputs import Kind
from miram.mammography.sources.wanted import WantedImages
from miram.serving.requests import TISSUE_PATCHES

Alias = Literal["champion", "challenger"]
CHAMPION: Alias = "champion"
CHALLENGER: Alias = "challenger"


class PromotionConfig(Config):
    """What is registered, and whether it becomes champion whatever the comparison says."""

    method: str | None = Field(
        None, description="name of the method; only as promote.method=... behind --params"
    )
    task: str = Field("pathology", min_length=1, description="task of the probe that is served")
    metric: str | None = Field(None, description="metric compared; the task's main one if None")
    force: bool = Field(False, description="make it champion whatever the comparison says")
    because: str = Field("", max_length=1000, description="reason in your own words, kept with it")
    patches: int = Field(
        TISSUE_PATCHES, ge=1, description="patches that stand for a mammogram without a box"
    )
    wanted: WantedImages = Field(
        WantedImages(), description="which DICOM files the model answers for; others are refused"
    )


@dataclass(frozen=True)
class Decision:
    """Which alias a new version gets, and why."""

    alias: Alias
    reason: str
    comparison: Comparison | None = None  # with the champion of before, if there was one


def decide(
    candidate: pd.DataFrame,
    champion: pd.DataFrame | None,
    config: PromotionConfig,
    *,
    kind: Kind,
    draws: int,
    seed: int,
) -> Decision:
    """Decide by the paired patient-cluster bootstrap of the difference to the champion.

    The models are given by their predictions, as `assess_features` makes them.

    Returns:
        `champion` for the first model, for one whose interval of the difference lies above
        zero, and for a forced one; otherwise `challenger`.
    """
    if champion is None:
        return Decision(CHAMPION, "the first model of its name")
    try:
        comparison = _compare(candidate, champion, config, kind=kind, draws=draws, seed=seed)
    except (MiramError, StatisticsError) as error:
        return not_compared(config, f"cannot be compared with the champion: {error}")
    summary = _describe(comparison)
    if comparison.lower > 0:
        return Decision(CHAMPION, f"better: {summary}", comparison)
    if config.force:
        return Decision(CHAMPION, f"forced, not shown to be better: {summary}", comparison)
    return Decision(CHALLENGER, f"not shown to be better: {summary}", comparison)


def not_compared(config: PromotionConfig, reason: str) -> Decision:
    """A model that cannot be compared is champion by force alone."""
    if config.force:
        return Decision(CHAMPION, f"forced: {reason}")
    return Decision(CHALLENGER, f"not promoted: {reason}")


def _compare(
    candidate: pd.DataFrame,
    champion: pd.DataFrame,
    config: PromotionConfig,
    *,
    kind: Kind,
    draws: int,
    seed: int,
) -> Comparison:
    """Compare two models on the lesions that both have been evaluated on."""
    tables = [candidate, champion]
    shared = set.intersection(*(set(evaluated_lesions(table, config.task)) for table in tables))
    if not shared:
        raise MiramError(f"they share no lesion of task {config.task}")
    ours, theirs = (
        task_scores(table[table["lesion_id"].isin(shared)], config.task) for table in tables
    )
    if ours.classes != theirs.classes:
        raise MiramError(f"classes {', '.join(ours.classes)} and {', '.join(theirs.classes)}")
    different = int((ours.labels != theirs.labels).any(axis=1).sum())
    if different:
        raise MiramError(f"{different} of {len(shared)} shared lesions have other labels now")
    labels, scores = ours.of_kind(kind)
    [found] = compare_methods(
        labels,
        {"candidate": scores, "champion": theirs.of_kind(kind)[1]},
        ours.patients,
        reference="champion",
        metric=config.metric,
        draws=draws,
        seed=seed,
    )
    return found


def _describe(found: Comparison) -> str:
    """A comparison in words, with its interval and what it rests on."""
    return (
        f"{found.metric} differs by {found.difference:+.3f} "
        f"(95 % interval {found.lower:+.3f} to {found.upper:+.3f}; {found.lesions} lesions of "
        f"{found.patients} patients, {found.draws} draws)"
    )
