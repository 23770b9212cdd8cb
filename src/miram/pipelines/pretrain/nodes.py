"""Nodes of the pretrain pipeline; torch is imported when a node runs."""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import pandas as pd

from miram.errors import MiramError
from miram.integrations.datasets.training_record import TrainingRecord
from miram.integrations.deferred import (
    AssessmentConfig,
    EncoderCheckpoint,
    EncoderConfig,
    MethodConfig,
    PretrainedCheckpoint,
    SupervisedConfig,
    TrainingConfig,
)
from miram.mammography.crops.store import CropStore
from miram.mammography.splits import pretraining_crops
from miram.pipelines.pretrain.validation import EncoderValidation
from miram.training.checkpointing.folder import TrainingFolder
from miram.training.distributed.cluster import EngineConfig
from miram.training.distributed.launch import launch
from miram.training.logging.telemetry import log_prefix

if TYPE_CHECKING:
    from miram.training.pretrain import PretrainingResult


def pretrain_encoder(
    crops: CropStore,
    splits: pd.DataFrame,
    lesions: pd.DataFrame,
    encoder: EncoderConfig,
    method: MethodConfig,
    training: TrainingConfig,
    evaluation: AssessmentConfig,
    engine: EngineConfig,
    training_folder: TrainingFolder,
) -> tuple[EncoderCheckpoint, PretrainedCheckpoint, TrainingRecord]:
    """Train one encoder without labels, or one per seed of `training.seeds`.

    With `training.hold_out_folds`, under cross-validation, one per fold and repeat instead.

    Returns:
        The encoder, all weights of the method, and the history with reconstructions of crops by
        the first seed.
    """
    from miram.models.checkpoints.joined import join_seeds
    from miram.training.logging.history import join_histories
    from miram.training.pretrain import pretrain, pretrain_by_fold

    if method.needs_labels:
        raise MiramError(
            f"kind {method.kind} needs labels, which only the method supervised is given"
        )
    validation = partial(
        EncoderValidation,
        crops,
        image_size=method.crop_size(encoder),
        splits=splits,
        lesions=lesions,
        evaluation=evaluation,
    )
    train: Callable[..., PretrainingResult]
    if training.hold_out_folds and method.trained and (splits["strategy"] == "cv").any():
        train = partial(pretrain_by_fold, crops, splits, encoder, method, validation=validation)
    else:
        rows = pretraining_crops(crops.manifest, splits)
        validate = validation(rows)
        train = partial(pretrain, crops, rows, encoder, method, validate=validate, splits=splits)
    # There is nothing to distribute where nothing is trained.
    where = engine if method.trained else EngineConfig()
    results = _each_seed(train, training, where, training_folder)
    first = next(iter(results.values()))
    return (
        join_seeds({seed: result.encoder for seed, result in results.items()}),
        join_seeds({seed: result.pretrained for seed, result in results.items()}),
        TrainingRecord(
            join_histories({seed: result.history for seed, result in results.items()}, "seed"),
            first.reconstructions,
            first.fidelity,
        ),
    )


def train_supervised_encoder(
    crops: CropStore,
    splits: pd.DataFrame,
    lesions: pd.DataFrame,
    encoder: EncoderConfig,
    method: SupervisedConfig,
    training: TrainingConfig,
    evaluation: AssessmentConfig,
    engine: EngineConfig,
    training_folder: TrainingFolder,
) -> tuple[EncoderCheckpoint, TrainingRecord]:
    """Train one encoder from scratch on the labels of the training patients, or one per seed.

    The training of other methods sees no label; see `EncoderValidation`.

    Returns:
        The encoder, one per fold where the splits are folds, and the training history.
    """
    from miram.evaluation.tasks.targets import targets_of
    from miram.models.checkpoints.joined import join_seeds
    from miram.training.logging.history import join_histories
    from miram.training.supervised import train_supervised

    task, without_callback = evaluation.task(method.task), evaluation.without_callback
    targets = targets_of(lesions, splits, task, without_callback)
    labels = (targets.rows, targets.labels, len(targets.classes))
    train = partial(train_supervised, crops, splits, *labels, encoder, method)
    results = _each_seed(train, training, engine, training_folder)
    return (
        join_seeds({seed: encoder for seed, (encoder, _) in results.items()}),
        TrainingRecord(
            join_histories({seed: history for seed, (_, history) in results.items()}, "seed")
        ),
    )


def _each_seed(
    train: Callable[..., Any],
    training: TrainingConfig,
    engine: EngineConfig,
    folder: TrainingFolder,
) -> dict[int, Any]:
    """Train once per seed, each in a part of the folder if there are several.

    The metrics of the first are logged by their plain names, on which methods compare; those of
    the others under a prefix such as `seed1/`.
    """
    from miram.training.checkpointing.manager import start_afresh_once

    results = {}
    for place, one in enumerate(training.each_seed()):
        part = folder.part(f"seed{one.seed}") if training.seeds else folder
        recipe, part = start_afresh_once(one, part)
        with log_prefix(f"seed{one.seed}/" if place else ""):
            results[one.seed] = launch(train, recipe, engine=engine, folder=part)
    return results
