"""What the evaluation of a method gives, and on which splits and data it rests."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from miram.errors import MiramError

Policy = tuple[str, str]
"""How patients were split, and what became of those in two parts: `strategy`, `leakage`."""


@dataclass(frozen=True)
class Evaluation:
    """Metrics of one method, and the tables behind them.

    Attributes:
        metrics: With intervals, by task; see `miram.evaluation.assess.assess_seeds`.
        predictions: One row per lesion, task and class.
        calibration: Reliability curves of `miram.evaluation.predictions`; this and the
            tables below have no column where they were not asked for.
        subgroups: Metrics by subgroup, from there as well.
        label_efficiency: Table of `miram.evaluation.label_efficiency`.
    """

    metrics: dict[str, Any]
    predictions: pd.DataFrame
    calibration: pd.DataFrame = field(default_factory=pd.DataFrame)
    subgroups: pd.DataFrame = field(default_factory=pd.DataFrame)
    label_efficiency: pd.DataFrame = field(default_factory=pd.DataFrame)


def policy_of(metrics: Mapping[str, Any]) -> Policy:
    """The policy under which a method was evaluated; see `metrics.json`."""
    return str(metrics["strategy"]), str(metrics["leakage"])


def one_policy(metrics: Mapping[str, Mapping[str, Any]]) -> Policy | None:
    """The policy that the `metrics.json` of all methods share; None where there is no method.

    Raises:
        MiramError: They were evaluated under several.
    """
    found: dict[Policy, list[str]] = {}
    for method, one in metrics.items():
        found.setdefault(policy_of(one), []).append(method)
    if len(found) > 1:
        policies = "; ".join(
            f"{', '.join(names)} under {words(one)}" for one, names in found.items()
        )
        raise MiramError(
            "methods were evaluated under different splits and cannot be compared: "
            f"{policies}. Run pretrain, probe and baselines for all of them with the same splits"
        )
    return next(iter(found), None)


def data_digest(metrics: Mapping[str, Any]) -> str | None:
    """Name of the crop store that a method was evaluated on, None where unknown."""
    found: str | None = metrics.get("features", {}).get("crops")
    return found


def words(policy: Policy) -> str:
    """A policy as tables name it."""
    return f"{policy[0]}, leakage {policy[1]}"
