"""From features to scores: what every protocol says of the evaluated lesions of one task."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt
import pandas as pd

from miram.evaluation.probes.fold_features import Features, features_evaluating, fit_probe_by_fold
from miram.evaluation.probes.linear import ProbeResult
from miram.evaluation.probes.protocols import MAIN, Protocol, ProtocolConfig, protocol_scores
from miram.evaluation.statistics.calibration import apply_temperature
from miram.evaluation.statistics.inputs import Kind
from miram.evaluation.tasks.pairs import (
    Rows,
    evaluation_pairs,
    ordered_rows,
    out_of_fold,
    patients_apart,
)
from miram.evaluation.tasks.targets import TaskTargets

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class ScoredTask:
    """The evaluated lesions of a task and what every protocol says of them.

    Attributes:
        targets: The task.
        lesions: (m rows) `lesion_id`, `patient_id` and `fold`, the pair that evaluated the lesion.
        labels: (m,) or (m, K), as in `kinds`.
        scores: (m,) or (m, K) by protocol.
        calibrated: The linear probe's scores after its temperature.
        temperatures: The temperature of each pair.
        training: Lesions and patients that the linear probe learned from, by pair.
    """

    targets: TaskTargets
    lesions: pd.DataFrame
    labels: npt.NDArray[np.int64]
    scores: Mapping[Protocol, Array]
    calibrated: Array
    temperatures: tuple[float, ...]
    training: tuple[tuple[int, int], ...]

    @property
    def patients(self) -> npt.NDArray[np.object_]:
        """(m,) patient of each lesion."""
        return self.lesions["patient_id"].to_numpy(dtype=object)


def score_task(
    features: Features, targets: TaskTargets, splits: pd.DataFrame, config: ProtocolConfig
) -> ScoredTask:
    """Score the lesions of a task by every protocol.

    Args:
        features: (n, d) features by the fold they may evaluate, one row per row of `splits`.
        targets: Which of these lesions have which label.
        splits: (n rows) which lesion is on which side.
        config: Which protocols, and how.

    Raises:
        MiramError: A patient is on both sides of a pair, or there is nothing to learn from.
    """
    rows = splits.iloc[targets.rows].reset_index(drop=True)
    features = {fold: values[targets.rows] for fold, values in features.items()}
    groups, pairs = patients_apart(rows), evaluation_pairs(rows)
    split = rows["split"].to_numpy(dtype=object)
    linear = fit_probe_by_fold(features, targets.labels, groups, pairs, split, config.linear_probe)

    def score_pair(protocol: Protocol, train: Rows, evaluated: Rows) -> Array:
        values = features_evaluating(features, split[evaluated])
        train = ordered_rows(values, groups, train)
        return protocol_scores(
            protocol,
            (values[train], targets.labels[train]),
            values[evaluated],
            classes=len(targets.classes),
            config=config,
        )

    scores = {MAIN: linear.predictions.scores}
    for protocol in config.protocols[1:]:
        scores[protocol] = out_of_fold(groups, pairs, partial(score_pair, protocol)).scores
    found = linear.predictions
    lesions = rows.iloc[found.rows][["lesion_id", "patient_id"]].reset_index(drop=True)
    return ScoredTask(
        targets=targets,
        lesions=lesions.assign(fold=found.pair),
        labels=targets.labels[found.rows],
        scores={name: of_kind(values, targets.kind) for name, values in scores.items()},
        calibrated=of_kind(_calibrated(linear, targets.kind), targets.kind),
        temperatures=tuple(one.temperature for one in linear.classifiers),
        training=tuple((one.lesions, one.patients) for one in linear.classifiers),
    )


def _calibrated(linear: ProbeResult, kind: Kind) -> Array:
    """Each pair's scores after the temperature of its own classifier."""
    mended = linear.predictions.scores.copy()
    for pair, classifier in enumerate(linear.classifiers):
        here = linear.predictions.pair == pair
        mended[here] = apply_temperature(
            mended[here], classifier.temperature, multi=kind == "multi"
        )
    return mended


def of_kind(scores: Array, kind: Kind) -> Array:
    """Scores in the shape of their kind; the probe gives two classes (m,) scores."""
    if kind == "single" and scores.ndim == 1:
        return np.column_stack([1 - scores, scores])
    return scores
