"""Training from scratch on labels, without a label of a patient who is evaluated later."""

import hashlib
import logging
from collections.abc import Callable, Mapping
from typing import TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from torch import nn

from miram.errors import MiramError
from miram.mammography.crops.store import CropStore
from miram.mammography.splits import split_repeats
from miram.models.checkpoints.files import EncoderCheckpoint
from miram.models.checkpoints.joined import WHOLE, join_folds
from miram.models.encoder import EncoderConfig
from miram.models.methods.supervised import SupervisedConfig, class_weights
from miram.models.pretrained_weights.load import initialize_from
from miram.training.checkpointing.folder import TrainingFolder
from miram.training.checkpointing.manager import Checkpoints
from miram.training.config import TrainingConfig, recipe_of
from miram.training.logging.history import (
    Facts,
    Trained,
    join_histories,
    joined_facts,
    last_step,
)
from miram.training.logging.telemetry import log_step_offset
from miram.training.loop import train
from miram.training.pretrain import header, identity

log = logging.getLogger(__name__)

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


def train_supervised(
    store: CropStore,
    splits: pd.DataFrame,
    rows: NDArray[np.intp],
    labels: NDArray[np.int64],
    classes: int,
    encoder: EncoderConfig,
    method: SupervisedConfig,
    training: TrainingConfig,
    *,
    folder: TrainingFolder | None = None,
) -> tuple[EncoderCheckpoint, pd.DataFrame]:
    """Train an encoder on labels: one, or under cross-validation one per fold and repeat.

    The encoder of a fold has seen no label of the fold's patients. Its features alone serve to
    evaluate their lesions; features of different encoders do not mix.

    Args:
        store: The crop store.
        splits: One row per lesion, with `lesion_id`, `strategy`, `leakage` and `split`.
        rows: (m,) positions in `splits` of the lesions that have a label.
        labels: (m,) classes from 0, or (m, K) of 0 and 1 where a lesion may have several.
        classes: K.
        encoder: Its configuration.
        method: Which task, and how it is trained.
        training: The budget that all methods share.
        folder: Where the training keeps its state; None keeps nothing.

    Returns:
        The encoders in one checkpoint, see `miram.models.checkpoints.joined`; and the history, with
        `fold` if there are several, whose steps are counted on from fold to fold.

    Raises:
        MiramError: There are no labels.
    """
    if not len(rows):
        raise MiramError(
            f"no lesion has a label of task {method.task!r}: give supervised.method.task a task "
            "that the data supports, or leave the method out"
        )
    recipe = recipe_of(method, training)
    crops = store.rows(splits["lesion_id"].iloc[rows])
    folds = [pair for repeat in split_repeats(splits) for pair in training_rows(repeat).items()]
    trained_on = np.concatenate([learned for _, learned in folds])
    encoder = encoder.settled(store.crops, crops[np.isin(rows, trained_on)])

    def train_fold(
        fold: str, learned: NDArray[np.int64], part: TrainingFolder | None
    ) -> tuple[nn.Module, Trained]:
        seen = np.isin(rows, learned)
        log.info("training on %d labeled crops %s", seen.sum(), f"outside {fold}" if fold else "")
        return _train_on(store, crops[seen], labels[seen], classes, encoder, method, recipe, part)

    encoders, facts, history = train_folds(dict(folds), folder, train_fold)
    metadata = header(store, encoder, method, facts, splits)
    checkpoints = {fold: EncoderCheckpoint.of(one, metadata) for fold, one in encoders.items()}
    return join_folds(checkpoints), history


def _train_on(
    store: CropStore,
    crops: NDArray[np.int64],
    labels: NDArray[np.int64],
    classes: int,
    encoder: EncoderConfig,
    method: SupervisedConfig,
    recipe: TrainingConfig,
    folder: TrainingFolder | None,
) -> tuple[nn.Module, Trained]:
    """Train one encoder on the (m,) crops of the store that have the labels."""
    weights = class_weights(labels, classes)
    model = method.build_classifier(encoder, recipe.seed, weights, several=labels.ndim == 2)
    start = ""
    if method.backbone is None:
        start = initialize_from(model, recipe.initialization).sha256
    about = identity(store, crops, encoder, method, start)
    about["labels"] = hashlib.sha256(np.ascontiguousarray(labels).tobytes()).hexdigest()
    trained = train(
        model,
        store.crops,
        method.crop_size(encoder),
        recipe,
        rows=crops,
        labels=labels,
        checkpoints=Checkpoints(folder, about) if folder else None,
    )
    return model.encoder.cpu(), trained


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
