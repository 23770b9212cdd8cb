"""The leaderboard: one row per method, protocol, task and figure, never without n and interval."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from miram.evaluation.comparability import data_digest, one_policy
from miram.reporting.charts.styles import metric_direction

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
    """Put the figures of all methods into one table.

    Args:
        metrics: Figures of `assess_features` by method.
        fine_tuned: Figures of `assess_finetuned` by method, of those that were fine-tuned.

    Returns:
        `COLUMNS`: `protocol` is `linear` for a probe on frozen features or `finetuned`, `lower`
        and `upper` end the 95 % interval, `seeds` counts the trainings and `seed_deviation` is
        that of the estimate between them, `repeats` and `repeat_deviation` are the same of the
        cross-validations, `data_digest` names the crop store. By task and
        figure, the best estimate first.

    Raises:
        MiramError: Methods were judged under different splits.
    """
    judged = [(name, LINEAR, found) for name, found in metrics.items()]
    judged += [(name, FINETUNED, found) for name, found in (fine_tuned or {}).items()]
    one_policy({f"{name} ({protocol})": found for name, protocol, found in judged})
    rows = [
        {
            "method": method,
            "protocol": protocol,
            "task": task,
            "metric": figure,
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
        for method, protocol, result in judged
        for task, found in result["tasks"].items()
        for figure, values in found["metrics"].items()
    ]
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    order = {name: place for place, name in enumerate(dict.fromkeys(table["metric"]))}
    sign = table["metric"].map(lambda name: -1 if metric_direction(name) == "higher" else 1)
    table["rank"], table["place"] = sign * table["estimate"], table["metric"].map(order)
    ordered = table.sort_values(["task", "place", "rank"], ignore_index=True, kind="stable")
    return ordered.drop(columns=["place", "rank"])
