"""Fine-tuning: a pretrained encoder and a linear head learn the labels of one task.

The epoch is chosen on validation patients. Held-out patients lend neither pixels nor labels;
see `miram.finetuning.evaluate` for how they are evaluated.
"""

import hashlib
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from torch import nn

from miram.errors import MiramError
from miram.finetuning.config import FinetuningConfig
from miram.finetuning.model import ABOUT, VALIDATION_AUC, FineTuned, classify, join_models
from miram.finetuning.split import TrainingSplit, finetuning_splits
from miram.mammography.crops.store import CropStore
from miram.mammography.splits import assert_patients_apart
from miram.models.checkpoints.files import EncoderCheckpoint, PretrainedCheckpoint, weights_digest
from miram.models.checkpoints.joined import WHOLE, split_folds
from miram.models.checkpoints.split_record import split_digest
from miram.models.methods.supervised import class_weights
from miram.provenance import TRAINING_CODE
from miram.training.checkpointing.folder import TrainingFolder
from miram.training.checkpointing.manager import VALIDATION_LOSS, Checkpoints
from miram.training.config import TrainingConfig
from miram.training.folds import train_folds
from miram.training.logging.history import OTHERWISE, Facts, Trained
from miram.training.logging.telemetry import Validation
from miram.training.loop import train

log = logging.getLogger(__name__)

_CODE = (*TRAINING_CODE, "finetuning")
_READ = ("timm", "image_size", "pixels", "pixel_mean", "pixel_std")  # of the header of an encoder

ValidationMetrics = Callable[[NDArray[np.int64], NDArray[np.float64], NDArray], dict[str, float]]
"""From labels (n,) or (n, K), probabilities (n, K) and patients (n,) of validation lesions to
metrics by name: `VALIDATION_AUC` among them, and `VALIDATION_LOSS` to choose among equals."""


@dataclass(frozen=True)
class LabeledCrops:
    """Lesions with a label of the task.

    Labels are (n,) classes from 0, or (n, K) of 0 and 1 where a lesion may have several.
    """

    store: CropStore
    table: pd.DataFrame  # (n rows) lesion_id, patient_id, strategy, leakage and split
    labels: NDArray[np.int64]
    classes: tuple[str, ...]  # K names
    kind: str  # binary, single or multi

    @property
    def rows(self) -> NDArray[np.int64]:
        """(n,) positions in the store."""
        return self.store.rows(self.table["lesion_id"])

    def in_order(self) -> "LabeledCrops":
        """The same lesions ordered by name, so that the result does not hang on their order."""
        order = self.table["lesion_id"].to_numpy(dtype=object).argsort(kind="stable")
        table = self.table.iloc[order].reset_index(drop=True)
        return LabeledCrops(self.store, table, self.labels[order], self.classes, self.kind)


def finetune(
    data: LabeledCrops,
    encoder: EncoderCheckpoint,
    config: FinetuningConfig,
    training: TrainingConfig,
    metrics: ValidationMetrics,
    *,
    folder: TrainingFolder | None = None,
) -> tuple[PretrainedCheckpoint, pd.DataFrame]:
    """Fine-tune an encoder on one task: one model, or under cross-validation one per fold.

    Args:
        data: The lesions with a label, held-out ones among them.
        encoder: Where to start; if it holds an encoder per fold, every fold starts from its own.
        config: Task and recipe.
        training: What all trainings share, such as device and precision.
        metrics: Of validation lesions.
        folder: Where the training keeps its state; None keeps nothing.

    Returns:
        The models with their heads, see `miram.finetuning.model`; and the history with the
        metrics of validation, and with `fold` if there are several, whose steps are counted on
        from fold to fold.

    Raises:
        MiramError: There are too few lesions or patients to learn from or to validate on, a
            patient is in two splits, or the encoder was made for other folds.
    """
    data = data.in_order()
    if data.table.empty:
        raise MiramError(
            f"no lesion has a label of task {config.task!r}: set finetuning.task to a task that "
            "the data supports"
        )
    assert_patients_apart(data.table)
    recipe = config.chosen.over(training)
    splits = finetuning_splits(data.table, data.labels, config.validation_share, recipe.seed)
    starts = _starts(encoder, list(splits))
    folds: list[dict[str, Any]] = []

    def finetune_fold(
        fold: str, split: TrainingSplit, part: TrainingFolder | None
    ) -> tuple[FineTuned, Trained]:
        _check(data, split, recipe, config)
        model, trained, about = _finetune_split(
            data, split, starts[fold], config, recipe, metrics, part
        )
        folds.append({"fold": fold, **about})
        return model, trained

    models, facts, history = train_folds(splits, folder, finetune_fold)
    return join_models(models, _header(data, encoder, config, facts, folds)), history


def _finetune_split(
    data: LabeledCrops,
    split: TrainingSplit,
    start: EncoderCheckpoint,
    config: FinetuningConfig,
    recipe: TrainingConfig,
    metrics: ValidationMetrics,
    folder: TrainingFolder | None,
) -> tuple[FineTuned, Trained, dict[str, Any]]:
    """The model, what its training leaves, and what the header says of the fold."""
    chosen, labels = config.chosen, data.labels[split.train]
    patients = data.table["patient_id"].to_numpy(dtype=object)

    def validate(model: nn.Module) -> Validation:
        assert isinstance(model, FineTuned)
        scores = classify(model, data.store.crops, data.rows[split.validate])
        return Validation(metrics(data.labels[split.validate], scores, patients[split.validate]))

    model = FineTuned(
        start,
        chosen.pooling,
        class_weights(labels, len(data.classes)),
        several=data.kind == "multi",
        drop_path=chosen.drop_path,
        patch_drop=chosen.patch_drop,
        seed=recipe.seed,
        frozen=chosen.frozen,
    )
    log.info("fine-tuning on %d crops, validating on %d", len(split.train), len(split.validate))
    # Every epoch has a row of its own, so that no validation is lost between two rows.
    often = min(recipe.log_every, len(split.train) // recipe.samples_per_step)
    identity = _identity(data, split, start, config)
    checkpoints = Checkpoints(folder, identity, _CODE) if folder else None
    trained = train(
        model,
        data.store.crops,
        model.image_size,
        recipe.model_copy(update={"log_every": often}),
        rows=data.rows[split.train],
        labels=labels,
        checkpoints=checkpoints,
        validate=validate,
    )
    found = validate(model.eval()).metrics
    about = {
        "epoch": _chosen_epoch(trained.history),
        "training": _numbers(data, split.train),
        "validation": {**_numbers(data, split.validate), "cut": split.cut, **found},
    }
    # What was asked for: folds of other sizes have been logged at other steps.
    asked = {**trained.facts["training"], "log_every": recipe.log_every}
    trained = replace(trained, facts={**trained.facts, "training": asked})
    return model.cpu(), trained, about


def _chosen_epoch(history: pd.DataFrame) -> int:
    """Which epoch `BestWeights` took, from 1."""
    if VALIDATION_AUC not in history:
        return 0  # one process of several validates, and its answer is the one that counts
    validated = history.dropna(subset=[VALIDATION_AUC]).reset_index(drop=True)
    best = validated[VALIDATION_AUC].max()
    equals = validated[validated[VALIDATION_AUC] == best]
    if VALIDATION_LOSS in validated:
        equals = equals.sort_values(VALIDATION_LOSS, kind="stable")
    return int(equals.index[0]) + 1


def _numbers(data: LabeledCrops, rows: NDArray[np.intp]) -> dict[str, int]:
    return {"lesions": len(rows), "patients": data.table["patient_id"].iloc[rows].nunique()}


def _identity(
    data: LabeledCrops, split: TrainingSplit, start: EncoderCheckpoint, config: FinetuningConfig
) -> dict[str, Any]:
    """Whatever besides the recipe's steps the selected weights depend on."""

    def digest(part: NDArray[np.intp]) -> str:
        content = data.rows[part].tobytes() + np.ascontiguousarray(data.labels[part]).tobytes()
        return hashlib.sha256(content).hexdigest()

    return {
        "task": config.task,
        "kind": data.kind,
        "classes": list(data.classes),
        "pooling": config.chosen.pooling,
        "drop_path": config.chosen.drop_path,
        "patch_drop": config.chosen.patch_drop,
        **({"frozen": True} if config.chosen.frozen else {}),
        "data_digest": data.store.digest,
        "training_lesions": digest(split.train),
        "validation_lesions": digest(split.validate),
        "encoder": {name: start.metadata[name] for name in _READ if name in start.metadata},
        "start": weights_digest(start.state),
    }


def _header(
    data: LabeledCrops,
    encoder: EncoderCheckpoint,
    config: FinetuningConfig,
    facts: Facts,
    folds: list[dict[str, Any]],
) -> dict[str, Any]:
    about = {
        "task": config.task,
        "kind": data.kind,
        "classes": list(data.classes),
        "recipe": config.recipe,
        "pooling": config.chosen.pooling,
        "drop_path": config.chosen.drop_path,
        "patch_drop": config.chosen.patch_drop,
        "frozen": config.chosen.frozen,
        "start": weights_digest(encoder.state),
        "sides": split_digest(data.table["lesion_id"], data.table["split"]),
        "folds": folds,
    }
    start = {name: value for name, value in encoder.metadata.items() if name != OTHERWISE}
    return {**start, ABOUT: about, **facts, "data_digest": data.store.digest}


def _starts(encoder: EncoderCheckpoint, folds: list[str]) -> dict[str, EncoderCheckpoint]:
    """The encoder that each fold starts from, its own where there is one per fold."""
    found = split_folds(encoder)
    if set(found) == {WHOLE}:
        return dict.fromkeys(folds, found[WHOLE])
    if missing := set(folds) - set(found):
        raise MiramError(
            f"there are encoders for the folds {', '.join(found)}, not for "
            f"{', '.join(sorted(missing)) or 'one split'}: the splits are newer; run `kedro run "
            "--pipeline pretrain` again"
        )
    return {fold: found[fold] for fold in folds}


def _check(
    data: LabeledCrops, split: TrainingSplit, recipe: TrainingConfig, config: FinetuningConfig
) -> None:
    if len(split.train) < recipe.samples_per_step:
        raise MiramError(
            f"{len(split.train)} training lesions of task {config.task!r} are fewer than one "
            f"batch: lower finetuning.recipes.{config.recipe}.batch_size "
            f"({recipe.samples_per_step})"
        )
    if not split.classes_shown(data.labels):
        raise MiramError(
            f"the {len(split.validate)} validation lesions of task {config.task!r} show no class "
            "beside another, so no epoch can be chosen by them: raise finetuning.validation_share"
        )
