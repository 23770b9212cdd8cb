"""From the scores of a task to its entry in `metrics.json`: no figure without n and interval."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from miram.errors import MiramError
from miram.evaluation.bootstrap import Interval, cluster_bootstrap
from miram.evaluation.class_figures import ClassRow, class_rows, confusion_matrix
from miram.evaluation.delong import auc_interval
from miram.evaluation.metrics import figures as plain_figures
from miram.evaluation.protocols import MAIN
from miram.evaluation.scoring import ScoredTask
from miram.evaluation.seeds import SeedScores

Array = npt.NDArray[np.float64]

CALIBRATED = ("brier", "ece", "log_loss")


def task_figures(
    runs: Mapping[int, Sequence[ScoredTask]], *, draws: int, seed: int
) -> dict[str, Any]:
    """Give all figures of a task.

    Args:
        runs: The scores of the same lesions by the seed of the training they come from, of each
            as many as the cross-validation has repeats.
        draws: Bootstrap draws per figure.
        seed: Seed of the draws.

    Returns:
        `kind`, `classes`, `without_callback`, `seeds`, `repeats`; `lesions` and `patients` judged;
        `training`, the lesions and patients learned from by pair of the first repeat; `majority`,
        the accuracy of the most frequent answer; of the linear probe `figures`, `per_class`,
        `confusion_matrix`, `delong` (None where it is not defined) and `calibration`; and
        `protocols`, the figures of the others. Each figure has `estimate`, `lower`, `upper` and
        `undefined_draws`; with several seeds or repeats it is their mean, and `figures` have
        `by_seed` and `seed_deviation`, or `by_repeat` and `repeat_deviation`, besides. The
        confusion matrix is the mean over both.
    """
    each = [one for repeats in runs.values() for one in repeats]
    first = each[0]
    targets, labels, patients = first.targets, first.labels, first.patients

    def figures(scores: SeedScores, names: Sequence[str] | None = None) -> dict[str, Any]:
        found = _plain(cluster_bootstrap(labels, scores, patients, names, draws=draws, seed=seed))
        return found if names else _with_spread(found, labels, scores)

    folds = np.stack([one.lesions["fold"].to_numpy() for one in each])
    repeats = len(each) // len(runs)
    scores = {
        name: SeedScores(tuple(one.scores[name] for one in each), folds, repeats)
        for name in first.scores
    }
    main = scores.pop(MAIN)
    calibrated = SeedScores(tuple(one.calibrated for one in each), folds, repeats)
    rows = class_rows(labels, main, patients, targets.classes, draws=draws, seed=seed)
    return {
        "kind": targets.kind,
        "classes": list(targets.classes),
        "without_callback": targets.without_callback,
        "seeds": list(runs),
        "repeats": repeats,
        "lesions": len(labels),
        "patients": len(np.unique(patients)),
        "training": [{"lesions": one, "patients": other} for one, other in first.training],
        "majority": float(np.max(_class_shares(labels, targets.kind))),
        "figures": figures(main),
        "per_class": [_class_entry(row) for row in rows],
        "confusion_matrix": _mean_confusion(labels, main),
        "delong": _delong(first) if targets.kind == "binary" and len(each) == 1 else None,
        "calibration": {
            "temperatures": [value for one in each for value in one.temperatures],
            "figures": figures(calibrated, CALIBRATED),
        },
        "protocols": {name: {"figures": figures(values)} for name, values in scores.items()},
    }


def _with_spread(
    found: dict[str, Any], labels: npt.NDArray, scores: SeedScores
) -> dict[str, dict[str, Any]]:
    """Figures with what every seed and repeat achieved alone, where there are several."""
    if len(scores.each) == 1:
        return found
    alone = [plain_figures(labels, one, folds=folds) for one, folds in scores.parts()]
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
    """A class as JSON; an undefined figure, as precision where it was never called, is None."""
    figures = {
        name: {key: _defined(value) for key, value in one.items()}
        for name, one in _plain(row.figures).items()
    }
    return {
        "class": row.name,
        "lesions": row.lesions,
        "patients": row.patients,
        "figures": figures,
    }


def _delong(task: ScoredTask) -> dict[str, float | None] | None:
    """DeLong's interval, clustered by patient: a cross-check of the bootstrap's."""
    try:
        found = auc_interval(task.labels, task.scores[MAIN], task.patients, task.lesions["fold"])
    except MiramError:  # fewer than two patients of a class: there is no variance
        return None
    return {
        "estimate": _defined(found.auc),
        "lower": _defined(found.lower),
        "upper": _defined(found.upper),
        "standard_error": _defined(found.standard_error),
    }


def _defined(value: float) -> float | None:
    return value if np.isfinite(value) else None


def _class_shares(labels: npt.NDArray, kind: str) -> Sequence[float]:
    if kind == "multi":
        share = labels.mean(axis=0)
        return [float(np.maximum(share, 1 - share).mean())]
    return list(np.bincount(labels) / len(labels))
