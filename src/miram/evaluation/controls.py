"""Controls: what the evaluation says of a method where there is nothing to find.

With permuted labels a probe has nothing to learn: another AUC than 0.5 shows a leak between
training and evaluation. With blank pixels an encoder has nothing to read but what the mask of the
lesion gives away: another AUC than 0.5 shows a shortcut.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from miram.errors import MiramError
from miram.evaluation.config import AssessmentConfig
from miram.evaluation.probes.protocols import MAIN
from miram.evaluation.probes.scoring import Features, ScoredTask, score_task
from miram.evaluation.statistics.bootstrap import cluster_bootstrap
from miram.evaluation.statistics.inputs import LEVEL, SeedScores
from miram.evaluation.statistics.metrics import compute_metrics
from miram.evaluation.tasks.targets import targets_of
from miram.mammography.splits import split_repeats

PERMUTATIONS = 20
_KEYS = ["lesion_id", "patient_id"]


@dataclass(frozen=True)
class Control:
    """The metric of a main task under a control.

    Attributes:
        task: Name of the task.
        metric: Name of the metric.
        lesions: Lesions evaluated.
        patients: Their patients.
        estimate: The metric; of permuted labels the mean over `PERMUTATIONS`.
        lower: Lower end of the 95 % interval, over patients or over permutations (Student's t).
        upper: Upper end.
    """

    task: str
    metric: str
    lesions: int
    patients: int
    estimate: float
    lower: float
    upper: float


def permuted_labels(
    features: Features, lesions: pd.DataFrame, splits: pd.DataFrame, config: AssessmentConfig
) -> Control:
    """Evaluate the main task with the findings of all lesions permuted.

    Args:
        features: (n, d) features by the fold they may evaluate, one row per row of `splits`.
        lesions: Lesion table.
        splits: Which lesion is in which part; of a repeated cross-validation the first is taken.
        config: Its first task is asked.

    Raises:
        MiramError: The lesions cannot answer the task.
    """
    values = []
    for draw in range(PERMUTATIONS):
        permuted = _permute(lesions, np.random.default_rng([config.seed, draw]))
        scored, metric = _score_main_task(features, permuted, splits, config)
        folds = scored.lesions["fold"].to_numpy()
        found = compute_metrics(scored.labels, scored.scores[MAIN], [metric], folds)
        values.append(found[metric])
    lower, upper = stats.ttest_1samp(values, 0).confidence_interval(LEVEL)
    return _control(scored, metric, float(np.mean(values)), float(lower), float(upper))


def blank_pixels(
    features: Features, lesions: pd.DataFrame, splits: pd.DataFrame, config: AssessmentConfig
) -> Control:
    """Evaluate the main task with features of `blank` crops; as `permuted_labels`."""
    scored, metric = _score_main_task(features, lesions, splits, config)
    scores = SeedScores((scored.scores[MAIN],), scored.lesions["fold"].to_numpy())
    found = cluster_bootstrap(
        scored.labels,
        scores,
        scored.patients,
        [metric],
        draws=config.bootstrap_draws,
        seed=config.seed,
    )[metric]
    return _control(scored, metric, found.estimate, found.lower, found.upper)


def blank(crops: NDArray[np.uint16]) -> NDArray[np.uint16]:
    """As many crops of one medium grey: (n, H, H) uint16."""
    return np.full_like(crops, np.iinfo(crops.dtype).max // 2)


def _permute(lesions: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    """Rows in another order, under the lesions and patients that they had."""
    moved = lesions.drop(columns=_KEYS).iloc[rng.permutation(len(lesions))]
    return lesions[_KEYS].join(moved.set_axis(lesions.index))


def _score_main_task(
    features: Features, lesions: pd.DataFrame, splits: pd.DataFrame, config: AssessmentConfig
) -> tuple[ScoredTask, str]:
    """Scores by the linear probe in the first repeat, and the name of the metric compared."""
    first, task = split_repeats(splits)[0], config.all_tasks()[0]
    targets = targets_of(lesions, first, task, config.without_callback)
    if not targets.supported:
        raise MiramError(
            f"the lesions cannot answer task {task.name} ({targets.skipped[-1].reason}): name "
            "another one first in evaluation.tasks"
        )
    scored = score_task(features, targets, first, {MAIN: config.linear_probe})
    return scored, config.comparison.metric_for(targets.kind)


def _control(
    scored: ScoredTask, metric: str, estimate: float, lower: float, upper: float
) -> Control:
    patients = len(np.unique(scored.patients))
    return Control(
        scored.targets.task, metric, len(scored.labels), patients, estimate, lower, upper
    )
