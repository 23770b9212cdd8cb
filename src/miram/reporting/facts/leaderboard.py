"""The leaderboard: one row per method, protocol, task and metric, always with n and interval."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from miram.evaluation.results import data_digest, one_policy
from miram.reporting.styles import metric_direction

LINEAR, FINETUNED = "linear", "finetuned"  # protocols

COLUMNS = (
    "method",
    "protocol",
    "task",
    "metric",
    "estimate",
    "lower",
    "upper",
    "lesions",
    "patients",
    "seeds",
    "seed_deviation",
    "repeats",
    "repeat_deviation",
    "strategy",
    "leakage",
    "data_digest",
)


def leaderboard_table(
    metrics: Mapping[str, Mapping[str, Any]],
    fine_tuned: Mapping[str, Mapping[str, Any]] | None = None,
) -> pd.DataFrame:
    """Put the metrics of all methods into one table.

    Args:
        metrics: Metrics of `assess_features` by method.
        fine_tuned: Metrics of `assess_finetuned` by method, of those that were fine-tuned.

    Returns:
        `COLUMNS`: `protocol` is `linear` for a probe on frozen features or `finetuned`, `lower`
        and `upper` are the ends of the 95 % interval, `seeds` counts the trainings,
        `seed_deviation` is the standard deviation of the estimate over them, `repeats` and
        `repeat_deviation` are the same for the cross-validations, `data_digest` names the crop
        store. Tasks come in the order asked; within one by metric, the best estimate first.

    Raises:
        MiramError: Methods were evaluated under different splits.
    """
    evaluated = [(name, LINEAR, found) for name, found in metrics.items()]
    evaluated += [(name, FINETUNED, found) for name, found in (fine_tuned or {}).items()]
    one_policy({f"{name} ({protocol})": found for name, protocol, found in evaluated})
    rows = [
        {
            "method": method,
            "protocol": protocol,
            "task": task,
            "metric": metric,
            "estimate": values["estimate"],
            "lower": values["lower"],
            "upper": values["upper"],
            "lesions": found["lesions"],
            "patients": found["patients"],
            "seeds": len(found.get("seeds", (0,))),
            "seed_deviation": values.get("seed_deviation"),
            "repeats": found.get("repeats", 1),
            "repeat_deviation": values.get("repeat_deviation"),
            "strategy": result["strategy"],
            "leakage": result["leakage"],
            "data_digest": data_digest(result),
        }
        for method, protocol, result in evaluated
        for task, found in result["tasks"].items()
        for metric, values in found["metrics"].items()
    ]
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    order = {name: place for place, name in enumerate(dict.fromkeys(table["metric"]))}
    sign = table["metric"].map(lambda name: -1 if metric_direction(name) == "higher" else 1)
    asked = {name: place for place, name in enumerate(dict.fromkeys(table["task"]))}
    keys = (sign * table["estimate"], table["metric"].map(order), table["task"].map(asked))
    return table.iloc[np.lexsort(keys)].reset_index(drop=True)  # undefined estimates last
