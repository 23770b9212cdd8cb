"""What a training leaves beside its weights: its history, and how it came about."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from miram.provenance import git_commit, versions
from miram.training.config import TrainingConfig
from miram.training.device import device_facts

OTHERWISE = "trained_otherwise"  # field of the header of several trainings, see `joined_facts`

Facts = dict[str, Any]


@dataclass(frozen=True)
class Trained:
    """What a training leaves beside the weights.

    Attributes:
        history: One row per logged step with `step`, `epoch`, `loss`, the single losses, `lr`,
            `gradient_norm`, `images_per_second`, `data_wait` (share of the time),
            `peak_memory_gb`, under fp16 `overflow` (share of steps), under `on_nan: skip`
            `skipped` (steps left out so far), and the metrics of validation.
        facts: Of the run that trained, perhaps an earlier one; see `facts_of`.
    """

    history: pd.DataFrame
    facts: Facts


def facts_of(config: TrainingConfig) -> Facts:
    """What a checkpoint's header says of a training in this process; plain values."""
    return {
        "training": config.model_dump(mode="json"),
        "hardware": device_facts(config),
        "git_commit": git_commit(),
        "versions": versions(),
    }


def joined_facts(parts: Mapping[str, Facts]) -> Facts:
    """Facts of several trainings, such as those of the folds, for one header.

    A fold that an earlier run trained may have had another machine, or other micro-batches.
    Those of the first are given, and under `trained_otherwise` whatever differs in others.
    """
    first, *_ = parts.values()
    others = {
        name: {field: value for field, value in facts.items() if value != first[field]}
        for name, facts in parts.items()
        if facts != first
    }
    return {**first, OTHERWISE: others} if others else first


def join_histories(histories: Mapping[Any, pd.DataFrame], column: str) -> pd.DataFrame:
    """Put the histories of folds or seeds into one.

    Folds are one training after the other, whose steps are counted on from fold to fold. Seeds
    repeat the same training, so that their steps are the same. A single one stays as it is.
    `column` names the parts: `fold` or `seed`.
    """
    if len(histories) == 1:
        return next(iter(histories.values()))
    tables = list(histories.values())
    last = [0 if column == "seed" else last_step(table) for table in tables]
    before = np.cumsum([0, *last[:-1]])
    moved = [
        table.assign(**{"step": table["step"] + start, column: part})
        for part, table, start in zip(histories, tables, before, strict=True)
    ]
    return pd.concat(moved, ignore_index=True)


def last_step(history: pd.DataFrame) -> int:
    """How many steps a training took; 0 of a method that does not train."""
    return 0 if history.empty else int(history["step"].max())
