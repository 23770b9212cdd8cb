"""Nodes of the pretrain pipeline; torch is imported when a node runs."""

from typing import TYPE_CHECKING, Any

import pandas as pd

from miram.errors import MiramError
from miram.integrations.deferred import deferred
from miram.mammography.crops.store import CropStore
from miram.mammography.splits import pretraining_crops
from miram.pipelines.pretrain.seeds import each_training
from miram.pipelines.pretrain.validation import EncoderValidation
from miram.training.checkpointing.folder import TrainingFolder
from miram.training.distributed.engine import EngineConfig, launch
from miram.training.logging.telemetry import told_under
from miram.training.record import TrainingRecord

if TYPE_CHECKING:
    from miram.evaluation.config import AssessmentConfig
    from miram.models.checkpoints.files import EncoderCheckpoint, PretrainedCheckpoint
    from miram.models.encoder import EncoderConfig
    from miram.models.method_config import MethodConfig
    from miram.models.supervised import SupervisedConfig
    from miram.training.config import TrainingConfig
else:
    AssessmentConfig = deferred("miram.evaluation.config", "AssessmentConfig")
    EncoderConfig = deferred("miram.models.encoder", "EncoderConfig")
    MethodConfig = deferred("miram.models.method_kinds", "METHOD_KINDS")
    SupervisedConfig = deferred("miram.models.supervised", "SupervisedConfig")
    TrainingConfig = deferred("miram.training.config", "TrainingConfig")
    EncoderCheckpoint = PretrainedCheckpoint = Any


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

    Returns:
        The encoder, all weights of the method, and the history with reconstructions of a few
        crops by the first seed.
    """
    from miram.models.checkpoints.joined import join_seeds
    from miram.training.logging.telemetry import join_histories
    from miram.training.pretrain import pretrain

    if method.needs_labels:
        raise MiramError(
            f"kind {method.kind} needs labels, which only the method supervised is given"
        )
    rows = pretraining_crops(crops.manifest, splits)
    image_size = method.crop_size(encoder)
    validate = EncoderValidation(crops, rows, image_size, splits, lesions, evaluation)
    results = {}
    for one in each_training(training, training_folder):
        with told_under(one.prefix):
            results[one.config.seed] = launch(
                pretrain,
                crops,
                rows,
                encoder,
                method,
                one.config,
                engine=engine if method.trained else EngineConfig(),  # nothing to distribute
                folder=one.folder,
                watch=validate,
                splits=splits,
            )
    return (
        join_seeds({seed: result.encoder for seed, result in results.items()}),
        join_seeds({seed: result.pretrained for seed, result in results.items()}),
        TrainingRecord(
            join_histories({seed: result.history for seed, result in results.items()}, "seed"),
            next(iter(results.values())).reconstructions,
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
    from miram.training.logging.telemetry import join_histories
    from miram.training.supervised import train_supervised

    task, without_callback = evaluation.task(method.task), evaluation.without_callback
    targets = targets_of(lesions, splits, task, without_callback)
    results = {}
    for one in each_training(training, training_folder):
        with told_under(one.prefix):
            results[one.config.seed] = launch(
                train_supervised,
                crops,
                splits,
                targets.rows,
                targets.labels,
                len(targets.classes),
                encoder,
                method,
                one.config,
                engine=engine,
                folder=one.folder,
            )
    return (
        join_seeds({seed: encoder for seed, (encoder, _) in results.items()}),
        TrainingRecord(
            join_histories({seed: history for seed, (_, history) in results.items()}, "seed")
        ),
    )
