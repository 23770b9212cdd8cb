"""From features to metrics: every task of one method, with intervals and predictions."""

import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from miram.errors import MiramError
from miram.evaluation.config import AssessmentConfig
from miram.evaluation.predictions import COLUMNS, prediction_table
from miram.evaluation.probes.protocols import MAIN
from miram.evaluation.probes.scoring import Features, ScoredTask, score_task
from miram.evaluation.results import Evaluation
from miram.evaluation.statistics import StatisticsError
from miram.evaluation.statistics.bootstrap import Interval, cluster_bootstrap
from miram.evaluation.statistics.delong import auc_interval
from miram.evaluation.statistics.inputs import SeedScores, kind_of
from miram.evaluation.statistics.metrics import compute_metrics, metrics_of
from miram.evaluation.statistics.per_class import ClassRow, class_rows, confusion_matrix
from miram.evaluation.statistics.subgroups import VARIABLES
from miram.evaluation.tasks.pairs import require_lesions
from miram.evaluation.tasks.targets import targets_of
from miram.mammography.splits import split_repeats

log = logging.getLogger(__name__)


def metrics_entry(
    labels: npt.NDArray,
    scores: SeedScores,
    patients: npt.NDArray,
    classes: Sequence[str],
    *,
    draws: int,
    seed: int,
) -> dict[str, Any]:
    """Give all metrics of scores.

    Args:
        labels: (n,) or (n, K), as in `inputs`.
        scores: Of every seed and repeat.
        patients: (n,).
        classes: K names, two of a binary task.
        draws: Bootstrap draws per metric.
        seed: Seed of the draws.

    Returns:
        `kind`, `classes`, `repeats`; `lesions` and `patients` evaluated; `majority`, the accuracy
        of the most frequent answer; `metrics`, `per_class`, `confusion_matrix`, and `delong` (None
        where it is not defined). Each metric has `estimate`, `lower`, `upper` and
        `undefined_draws`; with several seeds or repeats it is their mean, and `metrics` have
        `by_seed` and `seed_deviation`, or `by_repeat` and `repeat_deviation`, besides. The
        confusion matrix is the mean over both.
    """
    kind = kind_of(labels, scores.each[0])
    intervals = _plain(cluster_bootstrap(labels, scores, patients, draws=draws, seed=seed))
    rows = class_rows(labels, scores, patients, classes, draws=draws, seed=seed)
    delong = kind == "binary" and len(scores.each) == 1
    return {
        "kind": kind,
        "classes": list(classes),
        "repeats": scores.repeats,
        "lesions": len(labels),
        "patients": len(np.unique(patients)),
        "majority": _majority(labels, kind),
        "metrics": _with_spread(intervals, labels, scores),
        "per_class": [_class_entry(row) for row in rows],
        "confusion_matrix": _mean_confusion(labels, scores),
        "delong": _delong(labels, scores, patients) if delong else None,
    }


def task_metrics(
    runs: Mapping[int, Sequence[ScoredTask]], *, draws: int, seed: int
) -> dict[str, Any]:
    """Give all metrics of a task.

    Args:
        runs: The scores of the same lesions by the seed of the training they come from, of each
            as many as the cross-validation has repeats.
        draws: Bootstrap draws per metric.
        seed: Of the draws.

    Returns:
        What `metrics_entry` gives for the linear probe; `without_callback`, `seeds`; `training`,
        the lesions and patients learned from by pair of the first repeat; `calibration`; and
        `protocols`, the metrics of the others. `warnings` of the linear probe.
    """
    each = [one for repeats in runs.values() for one in repeats]
    first = each[0]
    targets, labels, patients = first.targets, first.labels, first.patients
    folds = np.stack([one.lesions["fold"].to_numpy() for one in each])

    def scores(name: str | None) -> SeedScores:
        values = tuple(one.calibrated if name is None else one.scores[name] for one in each)
        return SeedScores(values, folds, len(each) // len(runs))

    stated = metrics_of(targets.kind, "probabilities")
    options: dict[str, Any] = {"draws": draws, "seed": seed}
    calibrated = _plain(cluster_bootstrap(labels, scores(None), patients, stated, **options))
    protocols = {}
    for name in first.scores:
        if name != MAIN:
            found = _plain(cluster_bootstrap(labels, scores(name), patients, **options))
            protocols[name] = {"metrics": _with_spread(found, labels, scores(name))}
    return {
        **metrics_entry(labels, scores(MAIN), patients, targets.classes, **options),
        "without_callback": targets.without_callback,
        "seeds": list(runs),
        "training": [{"lesions": one, "patients": other} for one, other in first.training],
        "calibration": {
            "temperatures": [value for one in each for value in one.temperatures],
            "metrics": calibrated,
        },
        "warnings": _counted(warning for one in each for warning in one.warnings),
        "protocols": protocols,
    }


def _counted(warnings: Iterable[str]) -> list[str]:
    """Each warning once, with the number of fits it is about."""
    given = list(warnings)
    return [
        f"{text} ({count} of {len(given)} fits)" for text, count in Counter(given).items() if text
    ]


def _with_spread(
    found: dict[str, Any], labels: npt.NDArray, scores: SeedScores
) -> dict[str, dict[str, Any]]:
    """Metrics with what every seed and repeat achieved alone, where there are several."""
    if len(scores.each) == 1:
        return found
    alone = [compute_metrics(labels, one, folds=folds) for one, folds in scores.parts()]
    return {
        name: {**values, **scores.spread([one[name] for one in alone])}
        for name, values in found.items()
    }


def _mean_confusion(labels: npt.NDArray, scores: SeedScores) -> list[Any]:
    """Counts of decisions, of several seeds or repeats their mean."""
    counts = [confusion_matrix(labels, one) for one in scores.each]
    return (counts[0] if len(counts) == 1 else np.mean(counts, axis=0)).tolist()


def _plain(intervals: dict[str, Interval]) -> dict[str, dict[str, float]]:
    kept = ("estimate", "lower", "upper", "undefined_draws")
    return {name: {key: getattr(one, key) for key in kept} for name, one in intervals.items()}


def _class_entry(row: ClassRow) -> dict[str, Any]:
    """A class as JSON; an undefined metric, as precision where it was never called, is None."""
    return {
        "class": row.name,
        "lesions": row.lesions,
        "patients": row.patients,
        "metrics": {
            name: {key: _defined(value) for key, value in one.items()}
            for name, one in _plain(row.metrics).items()
        },
    }


def _delong(
    labels: npt.NDArray, scores: SeedScores, patients: npt.NDArray
) -> dict[str, float | None] | None:
    """DeLong's interval, clustered by patient: a cross-check of the bootstrap's."""
    [(only, folds)] = scores.parts()
    try:
        found = auc_interval(labels, only, patients, folds)
    except StatisticsError:  # fewer than two patients of a class: there is no variance
        return None
    return {
        "estimate": _defined(found.auc),
        "lower": _defined(found.lower),
        "upper": _defined(found.upper),
        "standard_error": _defined(found.standard_error),
    }


def _defined(value: float) -> float | None:
    return value if np.isfinite(value) else None


def _majority(labels: npt.NDArray, kind: str) -> float:
    if kind == "multi":
        share = labels.mean(axis=0)
        return float(np.maximum(share, 1 - share).mean())
    return float(np.max(np.bincount(labels) / len(labels)))


def require_subgroups(lesions: pd.DataFrame, config: AssessmentConfig) -> None:
    """Refuse to split metrics up by a column that is misspelled.

    The lesion table may lack columns of those that are asked for by default.

    Raises:
        MiramError: The table has no such column.
    """
    known = (*VARIABLES, *map(str, lesions.columns))
    for name in config.subgroups:
        if name not in known:
            raise MiramError(
                f"evaluation.subgroups names {name!r}, which is no column of the lesion table: "
                f"choose among {', '.join(dict.fromkeys(known))}"
            )


def assess_features(
    features: Features, lesions: pd.DataFrame, splits: pd.DataFrame, config: AssessmentConfig
) -> Evaluation:
    """Ask every task of the features of one training; as `assess_seeds`."""
    return assess_seeds({0: features}, lesions, splits, config)


def assess_seeds(
    features: Mapping[int, Features],
    lesions: pd.DataFrame,
    splits: pd.DataFrame,
    config: AssessmentConfig,
) -> Evaluation:
    """Ask every task of one method's features.

    Args:
        features: By seed (n, d) features, one row per row of `splits`, by the fold they may
            evaluate; see `features_by_fold`.
        lesions: Lesion table.
        splits: Which lesion is in which part, n rows. Their order does not matter.
        config: Tasks and statistics.

    Returns:
        Predictions, see `prediction_table`, and metrics: `strategy`, `leakage`, `repeats` of the
        cross-validation, `seeds`, `skipped`, and by task its entry, see `task_metrics`.

    Raises:
        MiramError: There is no lesion to evaluate, or no column of a subgroup's name.
    """
    require_lesions(splits)
    require_subgroups(lesions, config)
    order = splits["lesion_id"].to_numpy(dtype=object).argsort(kind="stable")
    splits = splits.iloc[order].reset_index(drop=True)
    repeats = split_repeats(splits)
    ordered = {
        seed: {fold: values[order] for fold, values in by_fold.items()}
        for seed, by_fold in features.items()
    }
    probes = config.probes()
    tasks: dict[str, Any] = {}
    predictions, skipped = [], []
    for task in config.all_tasks():
        targets = targets_of(lesions, splits, task, config.without_callback)
        skipped += [asdict(row) for row in targets.skipped]
        if not targets.supported:
            # It is so for every method, so a run says it once.
            reason = targets.skipped[-1].reason
            log.warning("task %s is skipped: %s", task.name, reason, extra={"once": True})
            continue
        runs = {
            seed: [score_task(by_fold, targets, repeat, probes) for repeat in repeats]
            for seed, by_fold in ordered.items()
        }
        predictions += [prediction_table(scored, seed) for seed, scored in runs.items()]
        tasks[task.name] = task_metrics(runs, draws=config.bootstrap_draws, seed=config.seed)
        if tasks[task.name]["warnings"]:
            # Common on few lesions: the metrics count the fits, and the report the methods.
            log.warning(
                "task %s: a probe took the last penalty it was offered; more can be offered in "
                "evaluation.linear_probe.regularization",
                task.name,
                extra={"once": True},
            )
    metrics = {
        "strategy": splits["strategy"].iloc[0],
        "leakage": splits["leakage"].iloc[0],
        "repeats": len(repeats),
        "seeds": list(features),
        "tasks": tasks,
        "skipped": skipped,
    }
    found = pd.concat(predictions, ignore_index=True) if predictions else pd.DataFrame()
    return Evaluation(metrics, found.reindex(columns=list(COLUMNS)))
