"""Nodes of the finetune pipeline; torch is imported when a node runs."""

import pandas as pd

from miram.errors import MiramError
from miram.evaluation.results import Evaluation
from miram.integrations.deferred import (
    AssessmentConfig,
    EncoderCheckpoint,
    FinetuningConfig,
    PretrainedCheckpoint,
    TrainingConfig,
)
from miram.mammography.crops.store import CropStore
from miram.training.checkpointing.folder import TrainingFolder
from miram.training.distributed.cluster import EngineConfig
from miram.training.distributed.launch import launch


def finetune_encoder(
    encoder: EncoderCheckpoint,
    crops: CropStore,
    splits: pd.DataFrame,
    lesions: pd.DataFrame,
    config: FinetuningConfig,
    training: TrainingConfig,
    evaluation: AssessmentConfig,
    engine: EngineConfig,
    finetuning_folder: TrainingFolder,
) -> tuple[PretrainedCheckpoint, pd.DataFrame]:
    """Train encoder and head on the labels of the training patients.

    Of a method with several seeds the first is fine-tuned.

    Returns:
        The classifier, one per fold where the splits are folds, and the training history.

    Raises:
        MiramError: The encoder was trained under other splits, or the data cannot answer the task.
    """
    from miram.evaluation.tasks.targets import targets_of
    from miram.finetuning.evaluate import ClassifierMetrics
    from miram.finetuning.train import LabeledCrops, finetune
    from miram.models.checkpoints.joined import first_seed
    from miram.models.checkpoints.split_record import SPLITS, require_same_splits
    from miram.training.checkpointing.manager import start_afresh_once

    require_same_splits(encoder.metadata.get(SPLITS), splits)
    task, without_callback = evaluation.task(config.task), evaluation.without_callback
    targets = targets_of(lesions, splits, task, without_callback)
    if not targets.supported:
        raise MiramError(
            f"the data cannot answer task {config.task!r} ({targets.skipped[-1].reason}): set "
            "finetuning.task to another one"
        )
    labeled = splits.iloc[targets.rows].reset_index(drop=True)
    data = LabeledCrops(crops, labeled, targets.labels, targets.classes, targets.kind)
    metrics = ClassifierMetrics(targets.kind, evaluation.seed)
    recipe, folder = start_afresh_once(training.each_seed()[0], finetuning_folder)
    return launch(
        finetune,
        data,
        first_seed(encoder),
        config,
        recipe,
        metrics,
        engine=engine,
        folder=folder,
    )


def evaluate_finetuned(
    finetuned: PretrainedCheckpoint,
    crops: CropStore,
    splits: pd.DataFrame,
    lesions: pd.DataFrame,
    evaluation: AssessmentConfig,
) -> Evaluation:
    """Evaluate the classifier once, on patients that neither trained it nor chose the epoch."""
    from miram.evaluation.assess import require_subgroups
    from miram.evaluation.predictions import calibration_table, subgroup_metrics
    from miram.finetuning.evaluate import assess_finetuned

    require_subgroups(lesions, evaluation)
    found = assess_finetuned(finetuned, crops, lesions, splits, evaluation)
    metrics = {**found.metrics, "features": {"crops": crops.digest}}
    # The tables take the one protocol there is, whatever its name.
    predictions = found.predictions.drop(columns="protocol")
    return Evaluation(
        metrics,
        found.predictions,
        calibration=calibration_table(predictions, metrics),
        subgroups=subgroup_metrics(predictions, lesions, metrics, evaluation),
    )
