"""Training from scratch on labels, without a label of a patient who is evaluated later."""

import hashlib
import logging

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from torch import nn

from miram.errors import MiramError
from miram.mammography.crops.store import CropStore
from miram.mammography.splits import split_repeats
from miram.models.checkpoints.files import EncoderCheckpoint
from miram.models.checkpoints.joined import join_folds
from miram.models.encoder import EncoderConfig
from miram.models.methods.supervised import SupervisedConfig, class_weights
from miram.models.pretrained_weights.load import initialize_from
from miram.training.checkpointing.folder import TrainingFolder
from miram.training.checkpointing.manager import Checkpoints
from miram.training.config import TrainingConfig, recipe_of
from miram.training.folds import train_folds, training_rows
from miram.training.logging.history import Trained
from miram.training.loop import train
from miram.training.pretrain import header, identity

log = logging.getLogger(__name__)


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
