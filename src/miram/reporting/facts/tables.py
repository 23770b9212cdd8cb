"""Tables of a report: what the data are, what was left out, how training went."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from miram.mammography.audit import summarize_audit
from miram.mammography.sources import explain_code
from miram.reporting.charts.training import loss_columns, loss_label, trainings_of
from miram.reporting.facts.study import MethodResult, Study

_PATHOLOGY = {
    "BENIGN": "benign",
    "BENIGN_WITHOUT_CALLBACK": "benign, not recalled",
    "MALIGNANT": "malignant",
}
_PARTS = ("train", "val", "test", "dropped")


@dataclass(frozen=True)
class Table:
    """A table of a page; the first cell of a row names the row.

    Attributes:
        columns: Heads of the columns.
        rows: Cells; None is an empty one.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]

    @property
    def numeric(self) -> tuple[bool, ...]:
        """Which columns hold numbers, to be set to the right."""
        cells = zip(*self.rows, strict=True) if self.rows else [()] * len(self.columns)
        kinds = [{type(cell) for cell in column if cell is not None} for column in cells]
        return tuple(bool(kind) and kind <= {int, float} for kind in kinds)


@dataclass(frozen=True)
class DataFacts:
    """What a study was made from.

    Attributes:
        lesions: Lesions with a crop.
        patients: Patients of these.
        mammograms: Mammograms of these.
        upsampled: Lesion crops that were enlarged to the stored side.
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
    sides = sorted(set(table["split"]), key=lambda side: (_place(side), side))
    parts = [(side, table[table["split"] == side]) for side in sides]
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
    heads = ("Part", "Lesions", "Patients", "Mammograms", *kinds, *types, "seen in pretraining")
    return Table(heads, tuple(rows))


def _place(side: str) -> int:
    return _PARTS.index(side) if side in _PARTS else 0


def left_out(study: Study) -> Table:
    """What ingestion, cropping and splitting left out or repaired, by reason."""
    rows = [
        (row["code"], explain_code(row["code"]), step, *_counts_and_example(audit, row))
        for step, audit in (("ingest", study.audit), ("crops", study.crops.audit))
        for _, row in summarize_audit(audit).iterrows()
    ]
    dropped = study.splits[study.splits["split"] == "dropped"]
    if len(dropped):
        detail = f"{dropped['patient_id'].nunique()} patients in all"
        meaning = "the patient is on both sides of the official split"
        counts = (len(dropped), len(dropped))
        rows.append(("leaking_patient", meaning, "splits", "left out", *counts, detail))
    heads = ("Reason", "Meaning", "Step", "Action", "Rows", "Lesions", "Example")
    return Table(heads, tuple(rows))


def _counts_and_example(audit: pd.DataFrame, row: pd.Series) -> tuple[str, int, int, str]:
    here = audit[(audit["code"] == row["code"]) & (audit["action"] == row["action"])]
    first = here.iloc[0]
    example = ": ".join(text for text in (first["lesion_id"], first["detail"]) if text)
    lesions = int(here["lesion_id"].replace("", pd.NA).nunique())
    return row["action"], int(row["count"]), lesions, example


def skipped_parts(methods: Mapping[str, MethodResult]) -> Table:
    """Tasks, classes and lesions that the evaluation left out, each once."""
    found = {
        (row["task"], row["what"], row["lesions"], row["reason"]): None
        for result in methods.values()
        for row in result.metrics["skipped"]
    }
    return Table(("Task", "Left out", "Lesions", "Why"), tuple(found))


def most_seeds(methods: Mapping[str, MethodResult]) -> int:
    """With how many seeds a method was trained, at most."""
    return max((len(entry.get("seeds", [0])) for entry in _entries(methods)), default=1)


def most_repeats(methods: Mapping[str, MethodResult]) -> int:
    """How often a method was cross-validated, at most."""
    return max((int(entry.get("repeats", 1)) for entry in _entries(methods)), default=1)


def _entries(methods: Mapping[str, MethodResult]) -> list[dict[str, Any]]:
    return [entry for result in methods.values() for entry in result.metrics["tasks"].values()]


def training_table(methods: Mapping[str, MethodResult]) -> Table:
    """Length, last losses and speed of each training."""
    histories = [result.history for result in methods.values()]
    losses = loss_columns(histories)
    rows = [
        (name, *_training_row(history, losses))
        for method, result in methods.items()
        for name, history in trainings_of(method, result.history).items()
    ]
    heads = [f"last loss, {loss_label(name)}" for name in losses]
    return Table(("Method", "Epochs", "Steps", *heads, "Images per second (median)"), tuple(rows))


def _training_row(history: pd.DataFrame, losses: list[str]) -> tuple[Any, ...]:
    if history.empty:
        return (0, 0, *[None] * (len(losses) + 1))
    last = history.iloc[-1]
    return (
        int(last["epoch"]) + 1,
        int(last["step"]),
        *(float(last[name]) if name in last else None for name in losses),
        round(float(history["images_per_second"].median())),
    )
