"""How a study was split, counted from the splits themselves, and in words."""

from dataclasses import dataclass

import pandas as pd

from miram.mammography.splits import split_repeats
from miram.reporting.facts.words import counted

_ORDER = ("train", "val", "test", "dropped")
_NAMES = {"train": "training", "val": "validation", "test": "test", "dropped": "left out"}


@dataclass(frozen=True)
class SplitPart:
    """One side of a split, such as `test` or `fold0`."""

    name: str
    lesions: int
    patients: int

    def __str__(self) -> str:
        name = _NAMES.get(self.name, self.name)
        return f"{name}: {counted(self.lesions, 'lesion')} of {counted(self.patients, 'patient')}"


@dataclass(frozen=True)
class SplitFacts:
    """How a study was split.

    Attributes:
        strategy: `official` or `cv`.
        leakage: `drop` or `official`.
        parts: All sides, lesions that were left out included; of a cross-validation those of its
            first repeat.
        repeats: How often patients were dealt into folds.
        judged: Patients whose lesions are judged.
        shared: Patients with lesions on the test side and on another side that was used.
        seen: Judged patients whose images a method without labels may see.
    """

    strategy: str
    leakage: str
    parts: tuple[SplitPart, ...]
    repeats: int
    judged: int
    shared: int
    seen: int

    @property
    def folds(self) -> int:
        """Number of folds; 0 for the official split."""
        return len(self.parts) if self.strategy == "cv" else 0

    @property
    def dropped(self) -> SplitPart:
        """What the leakage policy left out."""
        found = [part for part in self.parts if part.name == "dropped"]
        return found[0] if found else SplitPart("dropped", 0, 0)

    def __str__(self) -> str:
        parts = "; ".join(map(str, self.parts))
        if self.strategy == "cv":
            several = self.repeats > 1
            how = f"{self.folds} folds by patient{f', {self.repeats} times' * several}; "
            how += f"every lesion is judged once{' in each repeat' * several}"
        else:
            how = "the data set's own test part; validation is cut from the rest by patient"
        return f"Split “{self.strategy}”: {how}. {parts[0].upper()}{parts[1:]}. {self.policy}"

    @property
    def policy(self) -> str:
        """The leakage policy and what it did, in words."""
        name = f"Leakage policy “{self.leakage}”: "
        if self.strategy == "cv":
            return name + "without effect, as the folds put every patient on one side."
        if self.leakage == "drop":
            lost = self.dropped
            return name + (
                f"{counted(lost.lesions, 'training lesion')} of "
                f"{counted(lost.patients, 'patient')} on both sides of the official split were "
                "left out of training and pretraining."
            )
        return name + (
            f"patients on both sides of the official split were kept. "
            f"{counted(self.shared, 'patient')} with test lesions took part in training, which "
            "flatters the figures."
        )


def split_facts(splits: pd.DataFrame) -> SplitFacts:
    """Count how a study was split.

    Args:
        splits: Table of `miram.mammography.splits.assign_splits`.
    """
    strategy = str(splits["strategy"].iloc[0])
    names = sorted(
        splits["split"].unique(),
        key=lambda name: (_ORDER.index(name) if name in _ORDER else 0, name),
    )
    patients = {name: set(splits.loc[splits["split"] == name, "patient_id"]) for name in names}
    judged = patients.get("test", set()) if strategy == "official" else set(splits["patient_id"])
    others = set().union(*(patients[name] for name in names if name not in ("test", "dropped")))
    return SplitFacts(
        strategy=strategy,
        leakage=str(splits["leakage"].iloc[0]),
        parts=tuple(
            SplitPart(str(name), int((splits["split"] == name).sum()), len(patients[name]))
            for name in names
        ),
        repeats=len(split_repeats(splits)),
        judged=len(judged),
        shared=len(judged & others) if strategy == "official" else 0,
        seen=len(judged & set(splits.loc[splits["pretrain"], "patient_id"])),
    )
