"""From features to scores: what every protocol says of the evaluated lesions of one task.

Under cross-validation an encoder that saw labels exists once per fold. Its features of all lesions
train the probe of that fold and are evaluated there; features of two encoders never meet.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from miram.errors import MiramError
from miram.evaluation.probes.linear import require_finite
from miram.evaluation.probes.protocols import MAIN, Array, Probe, ProbeScores, TrainingLesions
from miram.evaluation.statistics.calibration import apply_temperature
from miram.evaluation.statistics.inputs import Kind
from miram.evaluation.tasks.pairs import (
    OutOfFold,
    Pair,
    check_pairs,
    evaluation_pairs,
    ordered_rows,
    out_of_fold,
    patients_apart,
)
from miram.evaluation.tasks.targets import TaskTargets
from miram.models.checkpoints.split_record import SPLITS, require_same_splits

WHOLE = ""  # one encoder for every fold; as in models.checkpoints.joined, which needs torch
Features = Mapping[str, npt.NDArray]
KEYS = ("lesion_id", "fold", "seed")  # columns of a table of features that are no features


def features_by_fold(table: pd.DataFrame, lesion_ids: pd.Series) -> dict[str, npt.NDArray]:
    """(n, d) features of (n,) lesions by fold; {`WHOLE`: features} for an encoder that serves all.

    The table has `lesion_id`, features, and `fold` if there is an encoder per fold.
    """
    folds = table["fold"] if "fold" in table else pd.Series(WHOLE, index=table.index)
    values = table.drop(columns=list(KEYS), errors="ignore").set_index(table["lesion_id"])
    return {
        str(fold): values[(folds == fold).to_numpy()].loc[lesion_ids].to_numpy()
        for fold in folds.unique()
    }


def features_by_seed(
    table: pd.DataFrame, lesion_ids: pd.Series, seeds: Sequence[int] = ()
) -> dict[int, dict[str, npt.NDArray]]:
    """`features_by_fold` of each training, by its seed.

    All of them if no seeds are named. Features that no training made, which have no `seed`, stand
    for any.

    Raises:
        MiramError: There is no training with such a seed.
    """
    if "seed" not in table:
        return {0: features_by_fold(table, lesion_ids)}
    found = list(dict.fromkeys(table["seed"].tolist()))
    if missing := set(seeds) - set(found):
        raise MiramError(
            f"evaluation.seeds asks for the training with seed {min(missing)}, but there are only "
            f"those of {', '.join(map(str, found))}: train it with training.seeds"
        )
    return {
        seed: features_by_fold(table[table["seed"] == seed], lesion_ids) for seed in seeds or found
    }


def features_to_evaluate(
    table: pd.DataFrame, splits: pd.DataFrame, seeds: Sequence[int] = ()
) -> dict[int, dict[str, npt.NDArray]]:
    """`features_by_seed` of the lesions of these splits.

    The table's origin says under which splits the encoder was trained, if it was trained here.

    Raises:
        MiramError: The encoder was trained under other splits, or as `features_by_seed`.
    """
    require_same_splits(table.attrs.get("origin", {}).get(SPLITS), splits)
    return features_by_seed(table, splits["lesion_id"], seeds)


def features_evaluating(features: Features, evaluated: npt.NDArray) -> npt.NDArray:
    """Those `features_by_fold` of the encoder that may evaluate lesions of these folds.

    Raises:
        MiramError: The lesions are of a fold without an encoder, or of several folds.
    """
    if set(features) == {WHOLE}:
        return features[WHOLE]
    folds = sorted(set(evaluated.tolist()))
    if len(folds) != 1 or folds[0] not in features:
        raise MiramError(
            f"lesions of {', '.join(map(str, folds))} are to be evaluated, but the encoder was "
            f"trained for the folds {', '.join(features)}: the splits are newer than the "
            "encoder; run `kedro run --pipeline pretrain` again"
        )
    return features[str(folds[0])]


def score_by_fold(
    features: Features,
    labels: npt.NDArray,
    groups: npt.NDArray,
    pairs: Sequence[Pair],
    split: npt.NDArray,
    probe: Probe,
) -> tuple[OutOfFold, list[ProbeScores]]:
    """Score the evaluation rows of each pair by a probe that learned from its training rows.

    Both are in the features of the encoder that may evaluate the pair.

    Args:
        features: (n, d) features by fold, see `features_by_fold`.
        labels: (n,) or (n, K).
        groups: (n,) patients.
        pairs: Training and evaluation rows.
        split: (n,) fold of each lesion.
        probe: How to learn.

    Returns:
        The scores of all evaluation rows, and what the probe gave for each pair.

    Raises:
        MiramError: A feature is not finite, a patient is in both parts of a pair, a pair evaluates
            lesions of a fold without an encoder, or of several folds, or as `Probe.scores`.
    """
    for values in features.values():
        require_finite(values)
    classes = labels.shape[1] if labels.ndim == 2 else int(labels.max()) + 1
    checked = check_pairs(groups, pairs)
    by_pair: list[ProbeScores] = []
    for train, evaluation in checked:
        values = features_evaluating(features, split[evaluation])
        train = ordered_rows(values, groups, train)
        given = TrainingLesions(values[train], labels[train], groups[train], classes)
        by_pair.append(probe.scores(given, values[evaluation]))
    return out_of_fold(checked, [one.scores for one in by_pair]), by_pair


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
        warnings: What the linear probe says of each fit.
    """

    targets: TaskTargets
    lesions: pd.DataFrame
    labels: npt.NDArray[np.int64]
    scores: Mapping[str, Array]
    calibrated: Array
    temperatures: tuple[float, ...]
    training: tuple[tuple[int, int], ...]
    warnings: tuple[str, ...] = ()

    @property
    def patients(self) -> npt.NDArray[np.object_]:
        """(m,) patient of each lesion."""
        return self.lesions["patient_id"].to_numpy(dtype=object)


def score_task(
    features: Features, targets: TaskTargets, splits: pd.DataFrame, probes: Mapping[str, Probe]
) -> ScoredTask:
    """Score the lesions of a task by every protocol, the main one among them.

    Features (n, d), by the fold they may evaluate, have a row per row of `splits`.

    Raises:
        MiramError: A patient is in both parts of a pair, or there is nothing to learn from.
    """
    rows = splits.iloc[targets.rows].reset_index(drop=True)
    features = {fold: values[targets.rows] for fold, values in features.items()}
    groups, pairs = patients_apart(rows), evaluation_pairs(rows)
    split = rows["split"].to_numpy(dtype=object)
    found = {
        name: score_by_fold(features, targets.labels, groups, pairs, split, probe)
        for name, probe in probes.items()
    }
    main, by_pair = found[MAIN]
    calibrated = main.scores.copy()
    for pair, one in enumerate(by_pair):
        here = main.pair == pair
        calibrated[here] = apply_temperature(
            calibrated[here], one.temperature, multi=targets.kind == "multi"
        )
    lesions = rows.iloc[main.rows][["lesion_id", "patient_id"]].reset_index(drop=True)
    return ScoredTask(
        targets=targets,
        lesions=lesions.assign(fold=main.pair),
        labels=targets.labels[main.rows],
        scores={name: of_kind(one.scores, targets.kind) for name, (one, _) in found.items()},
        calibrated=of_kind(calibrated, targets.kind),
        temperatures=tuple(one.temperature for one in by_pair),
        training=tuple((len(train), len(np.unique(groups[train]))) for train, _ in pairs),
        warnings=tuple(one.warning for one in by_pair),
    )


def of_kind(scores: Array, kind: Kind) -> Array:
    """Scores in the shape of their kind; the probe gives two classes (m,) scores."""
    if kind == "single" and scores.ndim == 1:
        return np.column_stack([1 - scores, scores])
    return scores
