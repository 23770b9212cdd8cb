"""Fine-tuned models: the metrics that choose an epoch, and the evaluation of held-out patients."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from miram.errors import MiramError
from miram.evaluation.assess import task_metrics
from miram.evaluation.config import AssessmentConfig
from miram.evaluation.predictions import prediction_table
from miram.evaluation.probes.protocols import MAIN
from miram.evaluation.probes.scoring import ScoredTask
from miram.evaluation.results import Evaluation
from miram.evaluation.statistics.bootstrap import cluster_bootstrap
from miram.evaluation.statistics.calibration import apply_temperature, fit_temperature
from miram.evaluation.statistics.inputs import Kind, one_hot
from miram.evaluation.statistics.metrics import compute_metrics
from miram.evaluation.tasks.pairs import check_pairs, evaluation_pairs, patients_apart
from miram.evaluation.tasks.targets import TaskTargets, targets_of
from miram.finetuning.model import ABOUT, VALIDATION_AUC, FineTuned, classify, split_models
from miram.mammography.crops.store import CropStore
from miram.models.checkpoints.files import PretrainedCheckpoint
from miram.models.checkpoints.joined import WHOLE
from miram.models.checkpoints.split_record import split_digest
from miram.training.checkpointing.manager import VALIDATION_LOSS

PROTOCOL = "finetuned"  # in the tables of predictions
_DRAWS = 200  # of the interval after every epoch

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class ClassifierMetrics:
    """Metrics of validation lesions, by which the epoch and the temperature are chosen."""

    kind: Kind
    seed: int  # of the bootstrap

    def __call__(
        self, labels: npt.NDArray[np.int64], scores: Array, patients: npt.NDArray
    ) -> dict[str, float]:
        """Compute the metrics of labels and scores in the shapes of `ValidationMetrics`.

        They are `validation_auc`, the mean over the classes that these lesions can separate,
        with its interval; `validation_lesions` and `validation_patients`;
        `validation_log_loss`; and `validation_temperature`, see `fit_temperature`.
        """
        hot = one_hot(labels, scores.shape[1]).astype(np.int64)
        shown = np.flatnonzero(hot.any(axis=0) & ~hot.all(axis=0))
        if self.kind == "binary":
            shown = shown[1:]  # the AUC of the other class is the same
        auc = cluster_bootstrap(
            hot[:, shown], scores[:, shown], patients, ["auc_macro"], draws=_DRAWS, seed=self.seed
        )["auc_macro"]
        shaped = of_kind(scores, self.kind)
        return {
            VALIDATION_AUC: auc.estimate,
            f"{VALIDATION_AUC}.lower": auc.lower,
            f"{VALIDATION_AUC}.upper": auc.upper,
            "validation_lesions": float(auc.lesions),
            "validation_patients": float(auc.patients),
            VALIDATION_LOSS: compute_metrics(labels, shaped, ["log_loss"])["log_loss"],
            "validation_temperature": fit_temperature(labels, shaped),
        }


def of_kind(scores: Array, kind: Kind) -> Array:
    """(n, K) probabilities in the shape of their kind."""
    return scores[:, 1] if kind == "binary" else scores


def assess_finetuned(
    checkpoint: PretrainedCheckpoint,
    store: CropStore,
    lesions: pd.DataFrame,
    splits: pd.DataFrame,
    config: AssessmentConfig,
) -> Evaluation:
    """Evaluate fine-tuned models on the patients that neither trained nor validated.

    The order of `splits` does not matter.

    Returns:
        What `assess_features` gives, of the one task, in place of the linear probe's answers
        those of the models; the predictions' protocol is `finetuned`. `metrics` has
        `finetuning` besides: recipe, chosen epochs, and metrics of the validation.

    Raises:
        MiramError: The models were trained for other splits, labels or classes.
    """
    models = split_models(checkpoint)
    about: dict[str, Any] = checkpoint.metadata[ABOUT]
    order = splits["lesion_id"].to_numpy(dtype=object).argsort(kind="stable")
    splits = splits.iloc[order].reset_index(drop=True)
    task = config.task(about["task"])
    targets = targets_of(lesions, splits, task, config.without_callback)
    rows = splits.iloc[targets.rows].reset_index(drop=True)
    _check(about, targets, rows)
    scored = _score(models, about, store, targets, rows)
    seed = int(checkpoint.metadata["training"]["seed"])
    metrics = task_metrics({seed: [scored]}, draws=config.bootstrap_draws, seed=config.seed)
    metrics = {
        "strategy": splits["strategy"].iloc[0],
        "leakage": splits["leakage"].iloc[0],
        "repeats": 1,
        "seeds": [seed],
        "tasks": {targets.task: metrics},
        "skipped": [vars(row) for row in targets.skipped],
        ABOUT: about,
    }
    return Evaluation(metrics, prediction_table([scored], seed).assign(protocol=PROTOCOL))


def _check(about: dict[str, Any], targets: TaskTargets, rows: pd.DataFrame) -> None:
    same = about["sides"] == split_digest(rows["lesion_id"], rows["split"])
    if not same or about["classes"] != list(targets.classes):
        raise MiramError(
            f"the model was fine-tuned on {targets.task} for other splits, lesions or classes, so "
            "held-out patients may have trained it: run `kedro run --pipeline finetune` again"
        )


def _score(
    models: dict[str, FineTuned],
    about: dict[str, Any],
    store: CropStore,
    targets: TaskTargets,
    rows: pd.DataFrame,
) -> ScoredTask:
    kind, folds = targets.kind, {one["fold"]: one for one in about["folds"]}
    pairs = check_pairs(patients_apart(rows), evaluation_pairs(rows))
    device = "cuda" if torch.cuda.is_available() else "cpu"
    tables, scores, calibrated, temperatures, training = [], [], [], [], []
    for number, (_, held_out) in enumerate(pairs):
        table = rows.iloc[held_out]
        fold = WHOLE if WHOLE in models else str(table["split"].iloc[0])
        found = classify(models[fold].to(device), store.crops, store.rows(table["lesion_id"]))
        temperature = float(folds[fold]["validation"]["validation_temperature"])
        tables.append(table[["lesion_id", "patient_id"]].assign(fold=number))
        scores.append(of_kind(found, kind))
        calibrated.append(apply_temperature(scores[-1], temperature, multi=kind == "multi"))
        temperatures.append(temperature)
        learned = folds[fold]["training"]
        training.append((int(learned["lesions"]), int(learned["patients"])))
    return ScoredTask(
        targets=targets,
        lesions=pd.concat(tables, ignore_index=True),
        labels=targets.labels[np.concatenate([held_out for _, held_out in pairs])],
        scores={MAIN: np.concatenate(scores)},
        calibrated=np.concatenate(calibrated),
        temperatures=tuple(temperatures),
        training=tuple(training),
    )
