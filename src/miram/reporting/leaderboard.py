"""The leaderboard: one row per method, task and figure, never without n and interval."""

from typing import Any

import pandas as pd

from miram.reporting.styles import figure_direction


def leaderboard_table(metrics: dict[str, dict[str, Any]]) -> pd.DataFrame:
    """Put the figures of all methods into one table.

    Args:
        metrics: Figures of `assess_features` by method.

    Returns:
        `method`, `task`, `figure`, `estimate`, `lower`, `upper` (95 % interval), `lesions`,
        `patients`, `seeds` (how many), `seed_deviation` (of the estimate between them),
        `strategy`, `leakage`; by task and figure, the best estimate first.
    """
    rows = [
        {
            "method": method,
            "task": task,
            "figure": figure,
            "estimate": values["estimate"],
            "lower": values["lower"],
            "upper": values["upper"],
            "lesions": found["lesions"],
            "patients": found["patients"],
            "seeds": len(found.get("seeds", (0,))),
            "seed_deviation": values.get("seed_deviation"),
            "strategy": result["strategy"],
            "leakage": result["leakage"],
        }
        for method, result in metrics.items()
        for task, found in result["tasks"].items()
        for figure, values in found["figures"].items()
    ]
    columns = ["method", "task", "figure", "estimate", "lower", "upper", "lesions", "patients"]
    columns += ["seeds", "seed_deviation", "strategy", "leakage"]
    table = pd.DataFrame(rows, columns=columns)
    order = {name: place for place, name in enumerate(dict.fromkeys(table["figure"]))}
    sign = table["figure"].map(lambda name: -1 if figure_direction(name) == "higher" else 1)
    table["rank"], table["place"] = sign * table["estimate"], table["figure"].map(order)
    ordered = table.sort_values(["task", "place", "rank"], ignore_index=True, kind="stable")
    return ordered.drop(columns=["place", "rank"])
