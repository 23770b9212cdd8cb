"""Whether scores follow what is no look of the lesion: the film's exposure, the size of the box."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import rankdata

from miram.evaluation.predictions import evaluated_lesions, task_scores
from miram.evaluation.statistics.bootstrap import Interval, cluster_bootstrap, intervals_of
from miram.evaluation.tasks.targets import targets_of
from miram.mammography.crops.store import CropStore
from miram.reporting.facts.study import Study
from miram.reporting.facts.words import counted, ends, number
from miram.reporting.sections.section import Section

Array = npt.NDArray[np.float64]


def _mean_grey(crops: CropStore, rows: npt.NDArray[np.intp]) -> Array:
    return np.array([crops.crops[row].mean() for row in rows]) / 65_535


def _box_area(crops: CropStore, rows: npt.NDArray[np.intp]) -> Array:
    boxes = crops.manifest.iloc[rows]
    width, height = boxes["box_x1"] - boxes["box_x0"], boxes["box_y1"] - boxes["box_y0"]
    return (width * height).to_numpy(np.float64)


NUMBERS: Mapping[str, Callable[[CropStore, npt.NDArray[np.intp]], Array]] = {
    "mean grey": _mean_grey,
    "box area": _box_area,
}


class Shortcuts(Section):
    """Correlations of every method's scores with one number, and how that number separates."""

    title = "Shortcuts"
    template = "shortcuts.html"

    def applies(self, study: Study) -> bool:
        """Whether the first task is binary."""
        return study_shortcuts(study) is not None

    def data(self, study: Study) -> dict[str, Any]:
        """The facts, and the numbers in their order."""
        facts = study_shortcuts(study)
        assert facts is not None
        line = _line(facts, study.methods)
        return {"shortcuts": facts, "numbers": list(NUMBERS), "line": line}


def _line(facts: "ShortcutFacts", methods: Collection[str]) -> str:
    """The strongest correlation of an encoder's scores with one number."""
    found = [
        (abs(one.estimate), method, name, one)
        for method, correlations in facts.methods.items()
        for name, one in correlations.items()
        if method in methods and np.isfinite(one.estimate)
    ]
    if not found:
        return ""
    _, method, name, one = max(found, key=lambda row: row[0])
    return (
        f"{method} follows {name} most closely of {len(found)} correlations: {number(one.estimate)}"
        f" ({ends(one)}), {counted(facts.patients, 'patient')}"
    )


@dataclass(frozen=True)
class Separation:
    """How one number alone separates the classes in each part of the split.

    Attributes:
        number: One of `NUMBERS`.
        train: ROC AUC on the training and validation lesions.
        test: The same on the test lesions.
    """

    number: str
    train: Interval
    test: Interval

    @property
    def turned(self) -> bool:
        """Whether the number points to one class in training and to the other in test."""
        return (self.train.estimate - 0.5) * (self.test.estimate - 0.5) < 0


@dataclass(frozen=True)
class ShortcutFacts:
    """What one binary task says of shortcuts.

    Attributes:
        methods: By method how far its scores follow each of `NUMBERS`: rank correlations from -1
            to 1.
        separations: Empty without an official split.
    """

    task: str
    lesions: int
    patients: int
    methods: Mapping[str, Mapping[str, Interval]]
    separations: tuple[Separation, ...]


@lru_cache(maxsize=1)
def study_shortcuts(study: Study) -> ShortcutFacts | None:
    """Shortcuts of the first task, None if it is not binary or was not evaluated."""
    config = study.assessment
    task = config.all_tasks()[0]
    predictions = {name: one.predictions for name, one in study.methods.items()} | study.baselines
    asked = {name: one for name, one in predictions.items() if (one["task"] == task.name).any()}
    if not asked or task_scores(next(iter(asked.values())), task.name).labels.shape[1] > 1:
        return None
    options = {"draws": config.bootstrap_draws, "seed": config.seed}
    methods, count, patients = {}, 0, 0
    for name, table in asked.items():
        found = task_scores(table, task.name)
        rows = study.crops.rows(pd.Series(evaluated_lesions(table, task.name)))
        score = np.mean([rankdata(one[:, 0]) for one in found.seeds.each], axis=0)
        ranks = [rankdata(read(study.crops, rows)) for read in NUMBERS.values()]
        methods[name] = intervals_of(
            list(NUMBERS), _correlations(score, np.array(ranks)), found.patients, **options
        )
        count, patients = len(score), len(np.unique(found.patients))
    separations = _separations(study, task.name, **options)
    return ShortcutFacts(task.name, count, patients, methods, separations)


def _correlations(score: Array, numbers: Array) -> Callable[[Array], Array]:
    """The statistic: weights (n, D) -> correlations (S, D) of (n,) scores with (S, n) numbers."""

    def of(weights: Array) -> Array:
        shares = weights / weights.sum(axis=0)
        first = score[:, None] - score @ shares  # (n, D)
        found = []
        for one in numbers:
            second = one[:, None] - one @ shares
            covariance = (shares * first * second).sum(axis=0)
            spread = (shares * first**2).sum(axis=0) * (shares * second**2).sum(axis=0)
            with np.errstate(invalid="ignore", divide="ignore"):
                found.append(covariance / np.sqrt(spread))
        return np.array(found)

    return of


def _separations(study: Study, task: str, *, draws: int, seed: int) -> tuple[Separation, ...]:
    splits = study.splits
    if not {"train", "test"} <= set(splits["split"]):
        return ()
    config = study.assessment
    targets = targets_of(study.lesions, splits, config.task(task), config.without_callback)
    rows = splits.iloc[targets.rows]
    places = study.crops.rows(rows["lesion_id"])
    patients, test = rows["patient_id"].to_numpy(dtype=object), (rows["split"] == "test").to_numpy()
    found = []
    for name, read in NUMBERS.items():
        ranks = rankdata(read(study.crops, places)) / (len(places) + 1)
        parts = [
            cluster_bootstrap(
                targets.labels[rows], ranks[rows], patients[rows], ["auc"], draws=draws, seed=seed
            )["auc"]
            for rows in (~test, test)
        ]
        found.append(Separation(name, *parts))
    return tuple(found)
