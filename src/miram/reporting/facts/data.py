"""What a study's data are: their counts, their split, and what was left out."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from miram.mammography.audit import summarize_audit
from miram.mammography.sources import explain_code
from miram.mammography.splits import split_repeats
from miram.reporting.facts.study import MethodResult, Study
from miram.reporting.facts.words import Table, counted

_PATHOLOGY = {
    "BENIGN": "benign",
    "BENIGN_WITHOUT_CALLBACK": "benign, not recalled",
    "MALIGNANT": "malignant",
}
_SPLITS = {"train": "training", "val": "validation", "test": "test", "dropped": "left out"}


@dataclass(frozen=True)
class DataFacts:
    """What a study was made from.

    Attributes:
        lesions: Those with a crop; patients and mammograms are theirs.
        upsampled: Lesion crops that were enlarged to the stored size.
        backgrounds: Crops of breast tissue away from lesions.
        uncut: Lesions in the table without a crop.
        counts: Lesions by split, pathology and abnormality type.
        bits: Mammograms by bits stored per pixel.
    """

    lesions: int
    patients: int
    mammograms: int
    upsampled: int
    backgrounds: int
    uncut: int
    counts: Table
    bits: dict[int, int]


def data_facts(study: Study) -> DataFacts:
    """Count what a study was made from."""
    manifest = study.crops.manifest
    lesion_crops = manifest[manifest["kind"] == "lesion"]
    bits = manifest.drop_duplicates("image_id")["source_bits"].value_counts().sort_index()
    return DataFacts(
        lesions=len(lesion_crops),
        patients=lesion_crops["patient_id"].nunique(),
        mammograms=lesion_crops["image_id"].nunique(),
        upsampled=int(lesion_crops["upsampled"].sum()),
        backgrounds=int((manifest["kind"] == "background").sum()),
        uncut=int((~study.lesions["lesion_id"].isin(lesion_crops["crop_id"])).sum()),
        counts=_split_counts(study.lesions, study.splits),
        bits={int(str(name)): int(count) for name, count in bits.items()},
    )


def _split_counts(lesions: pd.DataFrame, splits: pd.DataFrame) -> Table:
    columns = ["lesion_id", "image_id", "pathology", "abnormality_type"]
    table = splits.merge(lesions[columns], on="lesion_id")
    table["pathology"] = table["pathology"].map(_PATHOLOGY).fillna("pathology unknown")
    table["abnormality_type"] = table["abnormality_type"].astype(object).fillna("type unknown")
    known = [*_PATHOLOGY.values(), "pathology unknown"]
    kinds = [name for name in known if name in set(table["pathology"])]
    types = sorted(set(table["abnormality_type"]))
    parts = [(name, table[table["split"] == name]) for name in _split_names(table)]
    rows = [
        (
            name,
            len(part),
            part["patient_id"].nunique(),
            part["image_id"].nunique(),
            *(int((part["pathology"] == kind).sum()) for kind in kinds),
            *(int((part["abnormality_type"] == kind).sum()) for kind in types),
            int(part["pretrain"].sum()),
        )
        for name, part in [*parts, ("all", table)]
    ]
    heads = ("Split", "Lesions", "Patients", "Mammograms", *kinds, *types, "seen in pretraining")
    return Table(heads, tuple(rows))


def _split_names(splits: pd.DataFrame) -> list[str]:
    """Splits or folds in the order of tables."""
    order = list(_SPLITS)
    key = lambda name: (order.index(name) if name in order else 0, name)  # noqa: E731
    return sorted(map(str, splits["split"].unique()), key=key)


@dataclass(frozen=True)
class SplitPart:
    """One split, such as `test` or `fold0`."""

    name: str
    lesions: int
    patients: int

    def __str__(self) -> str:
        name = _SPLITS.get(self.name, self.name)
        return f"{name}: {counted(self.lesions, 'lesion')} of {counted(self.patients, 'patient')}"


@dataclass(frozen=True)
class SplitFacts:
    """How a study was split.

    Attributes:
        strategy: `official` or `cv`.
        leakage: `drop` or `official`.
        parts: All splits, lesions that were left out included; of a cross-validation the folds of
            its first repeat.
        repeats: How often patients were assigned to folds.
        evaluated: Patients whose lesions are evaluated.
        shared: Patients with lesions in the test split and in another split that was used.
        seen: Evaluated patients whose images a method without labels may see.
    """

    strategy: str
    leakage: str
    parts: tuple[SplitPart, ...]
    repeats: int
    evaluated: int
    shared: int
    seen: int

    @property
    def folds(self) -> int:
        """Number of folds; 0 for the official split."""
        return len(self.parts) if self.strategy == "cv" else 0

    @property
    def how(self) -> str:
        """How lesions were split, in words."""
        if self.strategy != "cv":
            return "the data set's own test split; validation is taken from the rest by patient"
        several = self.repeats > 1
        return (
            f"{self.folds} folds by patient{f', {self.repeats} times' * several}; every lesion is "
            f"evaluated once{' in each repeat' * several}"
        )

    def __str__(self) -> str:
        parts = "; ".join(map(str, self.parts))
        parts = parts[0].upper() + parts[1:]
        return f"Split “{self.strategy}”: {self.how}. {parts}. {self.policy}"

    @property
    def policy(self) -> str:
        """The leakage policy and what it did, in words."""
        name = f"Leakage policy “{self.leakage}”: "
        if self.strategy == "cv":
            return name + "without effect, as every patient is in one fold only."
        if self.leakage == "drop":
            dropped = [part for part in self.parts if part.name == "dropped"]
            lost = dropped[0] if dropped else SplitPart("dropped", 0, 0)
            return name + (
                f"{counted(lost.lesions, 'training lesion')} of "
                f"{counted(lost.patients, 'patient')} in both parts of the official split were "
                "left out of training and pretraining."
            )
        return name + (
            f"patients in both parts of the official split were kept. "
            f"{counted(self.shared, 'patient')} with test lesions took part in training, which "
            "biases the metrics upwards."
        )


def split_facts(splits: pd.DataFrame) -> SplitFacts:
    """Count how a study was split, by the table of `assign_splits`."""
    strategy = str(splits["strategy"].iloc[0])
    names = _split_names(splits)
    patients = {name: set(splits.loc[splits["split"] == name, "patient_id"]) for name in names}
    official = strategy == "official"
    evaluated = patients.get("test", set()) if official else set(splits["patient_id"])
    others = set().union(*(patients[name] for name in names if name not in ("test", "dropped")))
    return SplitFacts(
        strategy=strategy,
        leakage=str(splits["leakage"].iloc[0]),
        parts=tuple(
            SplitPart(name, int((splits["split"] == name).sum()), len(patients[name]))
            for name in names
        ),
        repeats=len(split_repeats(splits)),
        evaluated=len(evaluated),
        shared=len(evaluated & others) if official else 0,
        seen=len(evaluated & set(splits.loc[splits["pretrain"], "patient_id"])),
    )


def left_out(study: Study) -> Table:
    """What ingestion, cropping and splitting left out or repaired, by reason.

    No row is quoted: it names files. The audits have them.
    """
    rows: list[tuple[Any, ...]] = []
    for step, audit in (("ingest", study.audit), ("crops", study.crops.audit)):
        for row in summarize_audit(audit).itertuples():
            here = audit[(audit["code"] == row.code) & (audit["action"] == row.action)]
            lesions = here["lesion_id"].replace("", pd.NA).nunique()
            rows.append((row.code, explain_code(row.code), step, row.action, row.count, lesions))
    dropped = study.splits[study.splits["split"] == "dropped"]
    if len(dropped):
        patients = counted(dropped["patient_id"].nunique(), "patient")
        meaning = f"the patient, of {patients} in all, is in both parts of the official split"
        counts = (len(dropped), len(dropped))
        rows.append(("leaking_patient", meaning, "splits", "left out", *counts))
    heads = ("Reason", "Meaning", "Step", "Action", "Rows", "Lesions")
    return Table(heads, tuple(rows))


def skipped_parts(methods: Mapping[str, MethodResult]) -> Table:
    """Tasks, classes and lesions that the evaluation left out, each once."""
    found = {
        (row["task"], row["what"], row["lesions"], row["reason"]): None
        for result in methods.values()
        for row in result.metrics["skipped"]
    }
    return Table(("Task", "Left out", "Lesions", "Why"), tuple(found))
