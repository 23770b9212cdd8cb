"""Fine-tuning: a pretrained encoder and a linear head learn the labels of one task.

The epoch is chosen on validation patients. Patients who are judged lend neither pixels nor labels;
see `miram.finetuning.evaluate` for how they are judged.
"""

import hashlib
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from torch import nn

from miram.errors import MiramError
from miram.finetuning.config import FinetuningConfig
from miram.finetuning.model import (
    ABOUT,
    VALIDATION_AUC,
    VALIDATION_LOSS,
    FineTuned,
    classify,
    join_models,
)
from miram.finetuning.split import Side, finetuning_sides
from miram.mammography.crops.store import CropStore
from miram.mammography.splits import assert_patients_apart
from miram.models.checkpoints.files import EncoderCheckpoint, PretrainedCheckpoint, weights_digest
from miram.models.checkpoints.joined import WHOLE, split_folds
from miram.models.checkpoints.split_record import sides_digest
from miram.models.supervised import class_weights
from miram.training.checkpointing.folder import TrainingFolder
from miram.training.checkpointing.manager import Keep
from miram.training.config import TrainingConfig
from miram.training.logging.facts import OTHERWISE, Facts, joined_facts
from miram.training.logging.telemetry import Looks, join_histories, last_step, told_after
from miram.training.loop import train

log = logging.getLogger(__name__)

Judge = Callable[[NDArray[np.int64], NDArray[np.float64], NDArray], dict[str, float]]
"""Takes labels (n,) or (n, K), probabilities (n, K) and patients (n,) of validation lesions; gives
metrics by name, `VALIDATION_AUC` among them, and `VALIDATION_LOSS` to choose among equals."""


@dataclass(frozen=True)
class LabeledCrops:
    """Lesions with a label of the task.

    Attributes:
        store: The crop store.
        table: (n rows) `lesion_id`, `patient_id`, `strategy`, `leakage` and `split`.
        labels: (n,) classes from 0, or (n, K) of 0 and 1 where a lesion may have several.
        classes: K names.
        kind: `binary`, `single` or `multi`.
    """

    store: CropStore
    table: pd.DataFrame
    labels: NDArray[np.int64]
    classes: tuple[str, ...]
    kind: str

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
    judge: Judge,
    *,
    folder: TrainingFolder | None = None,
) -> tuple[PretrainedCheckpoint, pd.DataFrame]:
    """Fine-tune an encoder on one task: one model, or under cross-validation one per fold.

    Args:
        data: The lesions with a label, those to be judged among them.
        encoder: Where to start; if it holds an encoder per fold, every fold starts from its own.
        config: Task and recipe.
        training: What all trainings share, such as device and precision.
        judge: Metrics of validation lesions.
        folder: Where the training keeps its state; None keeps nothing.

    Returns:
        The models with their heads, see `miram.finetuning.model`; and the history with the
        metrics of `judge`, and with `fold` if there are several, whose steps go on from fold to
        fold.

    Raises:
        MiramError: There are too few lesions or patients to learn from or to validate on, a
            patient is on two sides, or the encoder was made for other folds.
    """
    data = data.in_order()
    if data.table.empty:
        raise MiramError(
            f"no lesion has a label of task {config.task!r}: set finetuning.task to a task that "
            "the data supports"
        )
    assert_patients_apart(data.table)
    recipe = config.chosen.over(training)
    sides = finetuning_sides(data.table, data.labels, config.validation_share, recipe.seed)
    starts = _starts(encoder, list(sides))
    models: dict[str, FineTuned] = {}
    told: list[dict[str, Any]] = []
    facts: dict[str, Facts] = {}
    histories: dict[str | int, pd.DataFrame] = {}
    for fold, side in sides.items():
        _check(data, side, recipe, config)
        part = folder.part(fold) if folder and fold else folder
        with told_after(sum(map(last_step, histories.values()))):
            one = _finetune_side(data, side, starts[fold], config, recipe, judge, part)
        models[fold] = one.model
        told.append({"fold": fold, **one.about})
        facts[fold], histories[fold] = one.facts, one.history
    header = _header(data, encoder, config, joined_facts(facts), told)
    return join_models(models, header), join_histories(histories, "fold")


@dataclass(frozen=True)
class ValidationWatch:
    """Judges the validation lesions while a model trains.

    Attributes:
        data: All lesions.
        validate: Positions of those that validate.
        judge: Their metrics.
    """

    data: LabeledCrops
    validate: NDArray[np.intp]
    judge: Judge

    def __call__(self, model: nn.Module) -> Looks:
        """Look at a model in evaluation mode."""
        assert isinstance(model, FineTuned)
        table = self.data.table.iloc[self.validate]
        scores = classify(model, self.data.store.crops, self.data.rows[self.validate])
        patients = table["patient_id"].to_numpy(dtype=object)
        return Looks(self.judge(self.data.labels[self.validate], scores, patients))


@dataclass(frozen=True)
class _Finetuned:
    model: FineTuned
    history: pd.DataFrame
    facts: Facts
    about: dict[str, Any]


def _finetune_side(
    data: LabeledCrops,
    side: Side,
    start: EncoderCheckpoint,
    config: FinetuningConfig,
    recipe: TrainingConfig,
    judge: Judge,
    folder: TrainingFolder | None,
) -> _Finetuned:
    chosen, labels = config.chosen, data.labels[side.train]
    model = FineTuned(
        start,
        chosen.pooling,
        class_weights(labels, len(data.classes)),
        several=data.kind == "multi",
        drop_path=chosen.drop_path,
        seed=recipe.seed,
    )
    log.info("fine-tuning on %d crops, validating on %d", len(side.train), len(side.validate))
    # Every epoch has a row of its own, so that no look is lost between two rows.
    often = min(recipe.log_every, len(side.train) // recipe.samples_per_step)
    watch = ValidationWatch(data, side.validate, judge)
    trained = train(
        model,
        data.store.crops,
        model.side,
        recipe.model_copy(update={"log_every": often}),
        rows=data.rows[side.train],
        labels=labels,
        keep=None if folder is None else Keep(folder, _identity(data, side, start, config)),
        watch=watch,
    )
    metrics = watch(model.eval()).metrics
    about = {
        "epoch": _chosen_epoch(trained.history),
        "training": _numbers(data, side.train),
        "validation": {**_numbers(data, side.validate), "cut": side.cut, **metrics},
    }
    # What was asked for: folds of other sizes have been logged at other steps.
    asked = {**trained.facts["training"], "log_every": recipe.log_every}
    return _Finetuned(model.cpu(), trained.history, {**trained.facts, "training": asked}, about)


def _chosen_epoch(history: pd.DataFrame) -> int:
    """Which epoch `Selection` took, from 1."""
    if VALIDATION_AUC not in history:
        return 0  # one process of several looks, and its answer is the one that counts
    looks = history.dropna(subset=[VALIDATION_AUC]).reset_index(drop=True)
    equals = looks[looks[VALIDATION_AUC] == looks[VALIDATION_AUC].max()]
    if VALIDATION_LOSS in looks:
        equals = equals.sort_values(VALIDATION_LOSS, kind="stable")
    return int(equals.index[0]) + 1


def _numbers(data: LabeledCrops, rows: NDArray[np.intp]) -> dict[str, int]:
    return {"lesions": len(rows), "patients": data.table["patient_id"].iloc[rows].nunique()}


def _identity(
    data: LabeledCrops, side: Side, start: EncoderCheckpoint, config: FinetuningConfig
) -> dict[str, Any]:
    """Whatever besides the recipe's steps the selected weights depend on."""

    def digest(part: NDArray[np.intp]) -> str:
        content = data.rows[part].tobytes() + np.ascontiguousarray(data.labels[part]).tobytes()
        return hashlib.sha256(content).hexdigest()

    return {
        "task": config.task,
        "classes": list(data.classes),
        "pooling": config.chosen.pooling,
        "drop_path": config.chosen.drop_path,
        "data_digest": data.store.digest,
        "training_lesions": digest(side.train),
        "validation_lesions": digest(side.validate),
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
        "start": weights_digest(encoder.state),
        "sides": sides_digest(data.table["lesion_id"], data.table["split"]),
        "folds": folds,
    }
    start = {name: value for name, value in encoder.metadata.items() if name != OTHERWISE}
    return {**start, ABOUT: about, **facts, "data_digest": data.store.digest}


def _starts(encoder: EncoderCheckpoint, folds: list[str]) -> dict[str, EncoderCheckpoint]:
    """The encoder that each fold starts from; one that saw labels saw none of the fold's."""
    found = split_folds(encoder)
    if set(found) == {WHOLE}:
        return dict.fromkeys(folds, found[WHOLE])
    if missing := set(folds) - set(found):
        raise MiramError(
            f"the encoder was trained on labels for the folds {', '.join(found)}, not for "
            f"{', '.join(sorted(missing)) or 'one split'}: the splits are newer; run "
            "`kedro run --pipeline pretrain --namespaces supervised` again"
        )
    return {fold: found[fold] for fold in folds}


def _check(
    data: LabeledCrops, side: Side, recipe: TrainingConfig, config: FinetuningConfig
) -> None:
    if len(side.train) < recipe.samples_per_step:
        raise MiramError(
            f"{len(side.train)} training lesions of task {config.task!r} are fewer than one batch: "
            f"lower finetuning.recipes.{config.recipe}.batch_size ({recipe.samples_per_step})"
        )
    if not side.told_apart(data.labels):
        raise MiramError(
            f"the {len(side.validate)} validation lesions of task {config.task!r} show no class "
            "beside another, so no epoch can be chosen by them: raise finetuning.validation_share"
        )
