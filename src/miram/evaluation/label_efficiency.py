"""How a metric grows with the number of labeled patients.

Whole patients are drawn, as a hospital would label them. The draws of one seed are nested: the
patients of a smaller share are among those of a larger one, so that a curve shows the patients
that were added and not another sample. The spread over draws says what depends on which patients
were labeled; what depends on which patients are evaluated is the interval in `metrics.json`.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from miram.evaluation.config import AssessmentConfig
from miram.evaluation.probes.linear import LinearProbeConfig
from miram.evaluation.probes.scoring import Features, of_kind, score_by_fold
from miram.evaluation.statistics.metrics import compute_metrics
from miram.evaluation.tasks.pairs import Pair, evaluation_pairs, patients_apart
from miram.evaluation.tasks.targets import TaskTargets, targets_of

COLUMNS = (
    "task",
    "metric",
    "share",
    "estimate",
    "lower",
    "upper",
    "deviation",
    "draws",
    "redrawn",
    "training_patients",
    "training_lesions",
    "lesions",
    "patients",
    "strategy",
    "leakage",
)
_MAX_REDRAW = 100


def label_efficiency_table(
    features: Mapping[int, Features],
    lesions: pd.DataFrame,
    splits: pd.DataFrame,
    config: AssessmentConfig,
) -> pd.DataFrame:
    """Evaluate probes that learned from shares of the training patients.

    Args:
        features: By seed and fold they may evaluate (n, d) features, a row per row of `splits`.
        lesions: Lesion table.
        splits: (n rows) which lesion is in which part.
        config: Tasks, probe and shares.

    Returns:
        `COLUMNS`, one row per task, metric and share. `estimate` is the mean over the draws,
        `lower` and `upper` the 2.5 and 97.5 % points of the draws and `deviation` their standard
        deviation, each draw evaluated by its mean over seeds; a share of all patients has one draw.
        `redrawn` counts draws thrown away because they had nothing to learn from. Training
        patients and lesions are means over draws and folds.
    """
    rows: list[dict[str, Any]] = []
    for task in config.all_tasks():
        targets = targets_of(lesions, splits, task, config.without_callback)
        if not targets.supported:
            continue
        here = splits.iloc[targets.rows].reset_index(drop=True)
        known = [
            {fold: values[targets.rows] for fold, values in by_fold.items()}
            for by_fold in features.values()
        ]
        rows += _task_rows(known, targets, here, config)
    split = {name: splits[name].iloc[0] for name in ("strategy", "leakage")} if rows else {}
    return pd.DataFrame(rows).assign(**split).reindex(columns=list(COLUMNS))


def _task_rows(
    seeds: Sequence[Features],
    targets: TaskTargets,
    splits: pd.DataFrame,
    config: AssessmentConfig,
) -> list[dict[str, Any]]:
    asked, groups = config.label_efficiency, patients_apart(splits)
    pairs, split = evaluation_pairs(splits), splits["split"].to_numpy(dtype=object)
    rows: list[dict[str, Any]] = []
    for share in asked.shares:
        found, sizes, redrawn = [], [], 0
        for draw in range(asked.draws if share < 1 else 1):
            drawn, attempts = drawn_pairs(
                pairs, groups, targets.labels, share, seed=asked.seed, draw=draw
            )
            redrawn += attempts
            if drawn is None:
                continue
            each = [
                _evaluated(features, targets, groups, drawn, split, config.linear_probe)
                for features in seeds
            ]
            found.append({name: float(np.mean([one[name] for one in each])) for name in each[0]})
            sizes += [(len(np.unique(groups[train])), len(train)) for train, _ in drawn]
        rows += _share_rows(share, found, sizes, redrawn)
    patients = splits["patient_id"].to_numpy(dtype=object)
    evaluated_rows = np.concatenate([evaluation for _, evaluation in pairs])
    numbers = {"lesions": len(evaluated_rows), "patients": len(np.unique(patients[evaluated_rows]))}
    return [{"task": targets.task, **row, **numbers} for row in rows]


def _evaluated(
    features: Features,
    targets: TaskTargets,
    groups: npt.NDArray,
    pairs: Sequence[Pair],
    split: npt.NDArray,
    config: LinearProbeConfig,
) -> dict[str, float]:
    found, _ = score_by_fold(features, targets.labels, groups, pairs, split, config)
    scores = of_kind(found.scores, targets.kind)
    return compute_metrics(targets.labels[found.rows], scores, folds=found.pair)


def drawn_pairs(
    pairs: Sequence[Pair],
    groups: npt.NDArray,
    labels: npt.NDArray[np.int64],
    share: float,
    *,
    seed: int,
    draw: int,
) -> tuple[list[Pair] | None, int]:
    """Keep a share of the training patients of every pair, the evaluation rows untouched.

    The share is rounded up, to at least two of the (n,) patients; labels are (n,) or (n, K). The
    patients of a draw are among those that it has at a larger share, as long as neither had to be
    drawn again.

    Returns:
        The pairs, None if no draw had two classes, and how many draws were thrown away.
    """
    for attempt in range(_MAX_REDRAW):
        found = []
        for train, evaluation in pairs:
            patients = np.unique(groups[train])
            order = np.random.default_rng([seed, draw, attempt]).permutation(patients)
            # The margin keeps 0.1 of 30 patients at 3.
            kept = order[: max(2, math.ceil(share * len(patients) - 1e-9))]
            found.append((train[np.isin(groups[train], kept)], evaluation))
        if all(len(np.unique(labels[train], axis=0)) > 1 for train, _ in found):
            return found, attempt
    return None, _MAX_REDRAW


def _share_rows(
    share: float, found: list[dict[str, float]], sizes: list[tuple[int, int]], redrawn: int
) -> list[dict[str, Any]]:
    if not found:
        return [{"metric": "none", "share": share, "draws": 0, "redrawn": redrawn}]
    patients, lesions = np.mean(sizes, axis=0).tolist()
    rows = []
    for name in found[0]:
        values = np.array([one[name] for one in found])
        lower, upper = np.quantile(values, [0.025, 0.975]).tolist()
        rows.append(
            {
                "metric": name,
                "share": share,
                "estimate": float(values.mean()),
                "lower": lower,
                "upper": upper,
                "deviation": float(values.std(ddof=1)) if len(values) > 1 else float("nan"),
                "draws": len(values),
                "redrawn": redrawn,
                "training_patients": patients,
                "training_lesions": lesions,
            }
        )
    return rows
