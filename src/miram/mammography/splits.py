"""Splits by patient: official or cross-validated, with the leakage policy applied."""

import warnings
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field
from sklearn.model_selection import StratifiedGroupKFold

from miram.configuration import Config
from miram.errors import MiramError
from miram.mammography.lesion_table import leaking_patients

Strategy = Literal["auto", "official", "cv"]
Leakage = Literal["drop", "official"]

MALIGNANT = "MALIGNANT"


_PARTS = 20  # training patients are assigned to that many parts, some of which validate
_COLUMNS = ("lesion_id", "patient_id", "strategy", "leakage", "split", "pretrain")
_FURTHER = "split_repeat"  # column of a further repeat: split_repeat2, split_repeat3...


class SplitConfig(Config):
    """How lesions are split.

    `official` keeps the test part of the data set and cuts validation from its training part.
    `cv` splits all patients into folds, `repeats` times; an encoder then sees all images,
    without their labels, unless `training.hold_out_folds` is set. `auto` is `official` where
    lesions of both official parts are present, else `cv`.
    `leakage: drop` leaves the training lesions of patients in both parts of the official split
    out of training and pretraining; `leakage: official` keeps them.
    """

    strategy: Strategy = Field("auto", description="the data set's own test part, or folds")
    leakage: Leakage = Field("drop", description="for patients in both official parts")
    validation_share: float = Field(0.15, gt=0, le=0.5, description="of the training patients")
    folds: int = Field(5, ge=2, description="for strategy cv")
    repeats: int = Field(
        1, ge=1, le=100, description="for strategy cv: how often patients are assigned to folds"
    )
    seed: int = 0


def assign_splits(lesions: pd.DataFrame, config: SplitConfig) -> pd.DataFrame:
    """Assign every lesion to a part of the split.

    Args:
        lesions: Lesion table; empty where images carry no lesions at all.
        config: How to split.

    Returns:
        One row per lesion: `lesion_id`, `patient_id`, `strategy`, `leakage`, `split`
        (`train`, `val`, `test`, `dropped`; for `cv` the fold: `fold0`, `fold1`...), for each
        further repeat of `cv` its folds (`split_repeat2` with `repeat2_fold0`...), and
        `pretrain` (whether an encoder may see the lesion's image without its label).

    Raises:
        MiramError: There are too few patients, or the official split is not there.
    """
    lesions = lesions.reset_index(drop=True)
    if lesions.empty:
        return pd.DataFrame(columns=list(_COLUMNS)).astype({"pretrain": bool})
    strategy = _resolve(lesions, config.strategy)
    assigned = _official if strategy == "official" else _repeated_folds
    splits = lesions[["lesion_id", "patient_id"]].assign(
        strategy=strategy, leakage=config.leakage, **assigned(lesions, config)
    )
    splits["pretrain"] = ~splits["split"].isin(["test", "val", "dropped"])
    for repeat in split_repeats(splits):
        assert_patients_apart(repeat)
    return splits


def split_repeats(splits: pd.DataFrame) -> list[pd.DataFrame]:
    """Take the repeats of a cross-validation apart: a table with its `split` for each.

    The official split, and a cross-validation that is not repeated, have one: the table itself.
    """
    further = [name for name in splits.columns if str(name).startswith(_FURTHER)]
    first = splits.drop(columns=further)
    return [first, *(first.assign(split=splits[name]) for name in further)]


def _resolve(lesions: pd.DataFrame, strategy: Strategy) -> str:
    present = set(lesions["official_split"].dropna())
    if strategy == "auto":
        return "official" if present == {"train", "test"} else "cv"
    if strategy == "official" and present != {"train", "test"}:
        raise MiramError(
            f"splits.strategy is official, but the lesions at hand are of "
            f"{' and '.join(sorted(present)) or 'no official part'} only: use splits.strategy=cv"
        )
    return strategy


def _official(lesions: pd.DataFrame, config: SplitConfig) -> dict[str, pd.Series]:
    split = lesions["official_split"].astype(object).where(lesions["official_split"].notna(), None)
    without = lesions["lesion_id"][split.isna()]
    if len(without):
        raise MiramError(
            f"lesion {without.iloc[0]} has no official_split, while others have: give it one, "
            "or use splits.strategy=cv"
        )
    leaks = lesions["leaks"] | lesions["patient_id"].isin(leaking_patients(lesions))
    if config.leakage == "drop":
        split[leaks & (split == "train")] = "dropped"
    # A patient kept in both parts by `leakage: official` may train, but never validates.
    candidates = lesions[(split == "train") & ~leaks]
    patients = candidates["patient_id"].nunique()
    if patients < 2:
        raise MiramError(
            f"{patients} training patients are too few to cut a validation part from: "
            "give more data, or use splits.strategy=cv"
        )
    parts = min(_PARTS, patients, int(_strata(candidates).value_counts().max()))
    folds = _grouped_folds(candidates, max(parts, 2), config.seed)
    validating = max(1, round(parts * config.validation_share))
    split[candidates.index[folds < validating]] = "val"
    return {"split": split}


def _repeated_folds(lesions: pd.DataFrame, config: SplitConfig) -> dict[str, pd.Series]:
    """Folds of every repeat by the name of their column."""
    patients = lesions["patient_id"].nunique()
    if patients < config.folds:
        raise MiramError(
            f"{patients} patients cannot be split into {config.folds} folds: "
            "give more data, or lower splits.folds"
        )
    columns = {}
    for repeat in range(1, config.repeats + 1):
        first = repeat == 1
        # The first assignment is the same however many follow it.
        seed = config.seed if first else [config.seed, repeat]
        folds = _grouped_folds(lesions, config.folds, seed)
        before = "" if first else f"repeat{repeat}_"
        columns["split" if first else f"{_FURTHER}{repeat}"] = pd.Series(
            [f"{before}fold{fold}" for fold in folds], index=lesions.index, dtype=object
        )
    return columns


def _strata(lesions: pd.DataFrame) -> pd.Series:
    malignant = (lesions["pathology"] == MALIGNANT).fillna(False).astype(bool).astype(str)
    if "abnormality_type" not in lesions:
        return malignant
    return lesions["abnormality_type"].astype("string").fillna("") + malignant


def _grouped_folds(lesions: pd.DataFrame, folds: int, seed: int | list[int]) -> NDArray[np.int64]:
    # Sorting makes the folds follow from the data alone, not from the order of the rows.
    ordered = lesions.sort_values("lesion_id")
    strata = np.unique(_strata(ordered), return_inverse=True)[1]
    assigned = pd.Series(0, index=ordered.index)
    pairs = stratified_pairs(strata, ordered["patient_id"].to_numpy(dtype=object), folds, seed)
    for fold, (_, rows) in enumerate(pairs):
        assigned.iloc[rows] = fold
    return assigned.reindex(lesions.index).to_numpy()


def stratified_pairs(
    strata: NDArray[np.intp], groups: NDArray, folds: int, seed: int | list[int]
) -> list[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """The rows outside and inside of each fold.

    Args:
        strata: (n,) numbers from 0; each is spread about evenly over the folds.
        groups: (n,) patients; the rows of one are in one fold.
        folds: How many.
        seed: Of the assignment.
    """
    if np.bincount(strata).max() < folds:  # every stratum is rare: scikit-learn refuses
        strata = np.zeros_like(strata)
    stream = seed if isinstance(seed, int) else np.random.RandomState(seed)
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=stream)
    with warnings.catch_warnings():
        # A rare stratum cannot be in every fold; that is no reason to warn the user.
        warnings.filterwarnings("ignore", "The least populated class", UserWarning)
        return list(splitter.split(strata, strata, groups))


def assert_patients_apart(splits: pd.DataFrame) -> None:
    """Fail where a patient is in two parts of a split.

    Raises:
        MiramError: Two parts share a patient. With `leakage: official` the official train
            and test parts may, as the data set's authors drew them.
    """
    used = splits[splits["split"] != "dropped"]
    parts = used.groupby("patient_id")["split"].agg(frozenset)
    shared = parts[parts.map(len) > 1]
    kept = (splits["leakage"] == "official") & (splits["strategy"] == "official")
    if kept.any():
        shared = shared[shared != frozenset({"train", "test"})]
    if len(shared):
        raise MiramError(
            f"patient {shared.index[0]} is in two parts of the split ({len(shared)} patients "
            "are): delete splits.parquet and run `kedro run --pipeline rois` again"
        )


def pretraining_crops(manifest: pd.DataFrame, splits: pd.DataFrame) -> NDArray[np.int64]:
    """Positions in the crop store, by its manifest, of crops an encoder may see without labels.

    Background patches follow their patient: none comes from a patient who is kept apart, nor,
    under the official split, from an image of its test part.
    """
    allowed = set(splits.loc[splits["pretrain"], "lesion_id"])
    apart = set(splits.loc[~splits["pretrain"], "patient_id"])
    background = (manifest["kind"] == "background") & ~manifest["patient_id"].isin(apart)
    if (splits["strategy"] == "official").any():
        background &= ~manifest["official_split"].eq("test").fillna(False).astype(bool)
    return np.flatnonzero(manifest["crop_id"].isin(allowed) | background)


def validation_crops(manifest: pd.DataFrame, splits: pd.DataFrame) -> NDArray[np.int64]:
    """Positions in the crop store, by its manifest, of the crops of validation patients."""
    patients = splits.loc[splits["split"] == "val", "patient_id"]
    return np.flatnonzero(manifest["patient_id"].isin(patients))
