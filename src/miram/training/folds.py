"""One training for each fold: which lesions it may learn from, and how the results are joined."""

from collections.abc import Callable, Mapping
from typing import TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from miram.models.checkpoints.joined import WHOLE
from miram.training.checkpointing.folder import TrainingFolder
from miram.training.logging.history import (
    Facts,
    Trained,
    join_histories,
    joined_facts,
    last_step,
)
from miram.training.logging.telemetry import log_step_offset

Data = TypeVar("Data")
Result = TypeVar("Result")


def training_rows(splits: pd.DataFrame) -> dict[str, NDArray[np.int64]]:
    """Which lesions may lend their labels to an encoder, as positions in the splits of one repeat.

    Under the official split one set, the training patients without those who validate. Under
    cross-validation a set for each fold: all other patients.
    """
    split = splits["split"].to_numpy()
    if (splits["strategy"] == "official").all():
        return {WHOLE: np.flatnonzero(split == "train")}
    return {str(fold): np.flatnonzero(split != fold) for fold in sorted(set(split))}


def train_folds(
    data: Mapping[str, Data],
    folder: TrainingFolder | None,
    train_fold: Callable[[str, Data, TrainingFolder | None], tuple[Result, Trained]],
) -> tuple[dict[str, Result], Facts, pd.DataFrame]:
    """Train on the data of each fold in turn; steps are counted on from fold to fold.

    Returns:
        What each training gave, by fold; facts and history of all of them.
    """
    results: dict[str, Result] = {}
    facts: dict[str, Facts] = {}
    histories: dict[str, pd.DataFrame] = {}
    for fold, learned in data.items():
        part = folder.part(fold) if folder and fold else folder
        with log_step_offset(sum(map(last_step, histories.values()))):
            results[fold], trained = train_fold(fold, learned, part)
        facts[fold], histories[fold] = trained.facts, trained.history
    return results, joined_facts(facts), join_histories(histories, "fold")
