"""Which lesions train and which validate, apart from those that are evaluated."""

import logging
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from miram.errors import MiramError
from miram.evaluation.statistics.inputs import one_hot, rarest_class
from miram.evaluation.tasks.pairs import Pair, Rows
from miram.mammography.splits import stratified_pairs
from miram.models.checkpoints.joined import WHOLE
from miram.training.folds import training_rows

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainingSplit:
    """What may be known before the held-out lesions are evaluated: positions of lesions."""

    train: Rows
    validate: Rows  # by which the epoch is chosen; other patients
    cut: bool  # whether validation was cut from the training patients here

    def classes_shown(self, labels: NDArray[np.int64]) -> int:
        """How many classes validation shows beside lesions without them."""
        return _classes_shown(labels[self.validate])


def finetuning_splits(
    table: pd.DataFrame, labels: NDArray[np.int64], share: float, seed: int
) -> dict[str, TrainingSplit]:
    """Training and validation lesions, by the fold that is evaluated.

    Under the official split validation is the split's own. Under cross-validation it is cut, by
    patient, from the training patients of each fold; and so it is from training and validation
    patients where the split's own validation shows no class beside another.

    The table has `patient_id`, `strategy` and `split`; labels are (n,) or (n, K). A `share` of the
    training patients validates where they are cut here.

    Returns:
        {`WHOLE`: split}, or a split by fold.

    Raises:
        MiramError: There are fewer than two patients to cut.
    """
    found, split = training_rows(table), table["split"].to_numpy()
    if WHOLE in found:
        own = TrainingSplit(found[WHOLE], np.flatnonzero(split == "val"), cut=False)
        if own.classes_shown(labels):
            return {WHOLE: own}
        log.warning(
            "the %d validation lesions show no class beside another: validation is cut anew from "
            "training and validation patients; a higher splits.validation_share avoids this",
            len(own.validate),
        )
        found = {WHOLE: np.flatnonzero(np.isin(split, ["train", "val"]))}
    patients = table["patient_id"].to_numpy(dtype=object)
    splits = {}
    for fold, rows in found.items():
        train, validate = cut_by_patient(labels[rows], patients[rows], share, seed)
        splits[fold] = TrainingSplit(rows[train], rows[validate], cut=True)
    return splits


def cut_by_patient(labels: NDArray[np.int64], patients: NDArray, share: float, seed: int) -> Pair:
    """Positions of lesions that stay and of those cut off: a share of patients, by label.

    Labels are (n,) or (n, K). Of the cuts that are possible, the first that shows the most
    classes is taken.

    Raises:
        MiramError: There are fewer than two patients.
    """
    several = len(np.unique(patients))
    if several < 2:
        raise MiramError(f"{several} training patients cannot train and validate: give more data")
    parts = max(2, min(round(1 / share), several))
    strata = labels if labels.ndim == 1 else rarest_class(labels > 0)
    cuts = stratified_pairs(strata, patients, parts, seed)
    return max(cuts, key=lambda cut: _classes_shown(labels[cut[1]]))


def _classes_shown(labels: NDArray[np.int64]) -> int:
    hot = one_hot(labels, int(labels.max(initial=0)) + 1)
    return int((hot.any(axis=0) & ~hot.all(axis=0)).sum())
