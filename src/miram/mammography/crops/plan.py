"""What to cut, and the building of a crop store from it: parallel, resumable, incremental."""

import json
import logging
import shutil
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from numpy.typing import NDArray

from miram.errors import MiramError
from miram.files import atomic_path, harmless_cell
from miram.mammography.audit import audit_rows, summarize_audit
from miram.mammography.crops.cut import (
    CROPPING_VERSION,
    CropConfig,
    ImageTask,
    LesionTask,
    cut_image,
)
from miram.mammography.crops.geometry import Box
from miram.mammography.crops.store import CropStore, write_store
from miram.mammography.lesion_table import BOX, marked_elsewhere
from miram.mammography.workers import local_workers
from miram.progress import track

log = logging.getLogger(__name__)

_UNPLACED = "a lesion of this image, or of this breast and view, has no known place"
_ELSEWHERE = "another image of this file, or of this breast and view, has a lesion"

Backend = Callable[[], AbstractContextManager[None]]


@dataclass(frozen=True)
class CropPlan:
    """Which crops a store shall hold: one task per mammogram, in the final order.

    Attributes:
        workers: Processes to cut with, up to 0.5 GB for a full film each; -1 for all there are.
        backend: Makes joblib's backend; by default its own processes on this machine.
        names: Path of each file by its pseudonym; empty where the tasks name paths.
    """

    tasks: tuple[ImageTask, ...]
    config: CropConfig
    raw_root: Path
    workers: int = 1
    backend: Backend = local_workers
    names: Mapping[str, str] = field(default_factory=dict)

    def names_of(self, task: ImageTask) -> dict[str, str]:
        """Those of `names` that a task needs."""
        return {name: self.names[name] for name in task.files if name in self.names}


def plan_crops(
    lesions: pd.DataFrame,
    raw_root: Path,
    config: CropConfig,
    workers: int = 1,
    backend: Backend = local_workers,
    names: Mapping[str, str] | None = None,
) -> CropPlan:
    """Group a lesion table by mammogram, so that each is decoded once; see `CropPlan`.

    A row with neither masks nor a box stands for an image in which nothing is marked: background
    patches are all that it gives, and none where a lesion may lie that is not marked in it.
    """
    lesions = lesions.assign(no_backgrounds=_no_backgrounds(lesions)).sort_values("lesion_id")
    groups = lesions.groupby("image_id", sort=True)
    tasks = tuple(_task(str(image_id), group) for image_id, group in groups)
    return CropPlan(tasks, config, raw_root, workers, backend, names or {})


def _no_backgrounds(lesions: pd.DataFrame) -> pd.Series:
    """Say for each row why its image gives no backgrounds; empty where it does."""
    unplaced = lesions.get("unplaced_lesion", pd.Series(False, index=lesions.index))
    reasons = pd.Series("", index=lesions.index).mask(marked_elsewhere(lesions), _ELSEWHERE)
    return reasons.mask(unplaced.groupby(lesions["image_id"]).transform("any"), _UNPLACED)


def _task(image_id: str, rows: pd.DataFrame) -> ImageTask:
    first = rows.iloc[0]
    split, photometric = first.get("official_split"), first.get("photometric")
    lesions = [_lesion(row) for row in rows.to_dict("records")]
    return ImageTask(
        image_id=image_id,
        image_path=str(first["image_path"]),
        patient_id=str(first["patient_id"]),
        lesions=tuple(lesion for lesion in lesions if lesion.mask_paths or lesion.box),
        official_split=None if pd.isna(split) else str(split),
        no_backgrounds=str(first["no_backgrounds"]),
        photometric=None if pd.isna(photometric) else photometric,
    )


def _lesion(row: dict[Any, Any]) -> LesionTask:
    edges = [int(row[name]) for name in BOX if name in row and not pd.isna(row[name])]
    box = Box(*edges) if len(edges) == len(BOX) else None
    return LesionTask(str(row["lesion_id"]), tuple(row["mask_paths"]), box)


def build_crop_store(plan: CropPlan, folder: Path) -> CropStore:
    """Cut what a plan asks for and write the store to a folder.

    Each mammogram's crops are saved as soon as they are cut, so that an interrupted run resumes
    where it stopped; crops of an older store there are reused where neither their files nor the
    parameters changed.

    Raises:
        MiramError: Not a single crop could be cut.
    """
    cache = _Cache(folder, plan)
    todo = [task for task in plan.tasks if not cache.has(task)]
    log.info("%d of %d mammograms to cut", len(todo), len(plan.tasks))
    jobs = (
        delayed(_cut_and_save)(
            task, plan.raw_root, plan.config, cache.part(task), plan.names_of(task)
        )
        for task in todo
    )
    with plan.backend():
        finished = Parallel(n_jobs=plan.workers, return_as="generator_unordered")(jobs)
        for _ in track(finished, "cut mammograms", total=len(todo)):
            pass
    digest = _assemble(plan, cache, folder)
    shutil.rmtree(cache.parts, ignore_errors=True)
    log.info("crop store %s: digest %s", folder, digest)
    store = CropStore.open(folder)
    for row in summarize_audit(store.audit).itertuples():
        log.info("audit of the crops: %d x %s, %s", row.count, row.code, row.action)
    return store


def stale_because(store: CropStore, config: CropConfig) -> list[str]:
    """List the parameters of a store that differ from those wanted, as `context: 1.0 -> 1.25`."""
    wanted = {**config.model_dump(mode="json"), "version": CROPPING_VERSION}
    old, new = (pd.json_normalize(one).to_dict("records")[0] for one in (store.parameters, wanted))
    pairs = {name: (old.get(name, "not there"), new.get(name, "not there")) for name in old | new}
    return [f"{name}: {was} -> {now}" for name, (was, now) in pairs.items() if was != now]


def _parameters(config: CropConfig) -> dict[str, Any]:
    return {**config.stored(), "version": CROPPING_VERSION}


def _assemble(plan: CropPlan, cache: "_Cache", folder: Path) -> str:
    rows: list[dict[str, Any]] = []
    problems: list[dict[str, str]] = []
    for task in plan.tasks:
        its_rows, its_problems = cache.notes(task)
        rows += its_rows
        problems += its_problems
    if not rows:
        raise MiramError(
            f"not one crop could be cut under {plan.raw_root} {_why_none(plan, problems)}"
        )
    return write_store(
        folder,
        map(cache.arrays, plan.tasks),
        manifest=pd.DataFrame(rows).astype({"official_split": "string"}),
        audit=audit_rows(problems),
        parameters=_parameters(plan.config),
        tasks={task.image_id: cache.fingerprint(task) for task in plan.tasks},
    )


def _why_none(plan: CropPlan, problems: list[dict[str, str]]) -> str:
    if any(task.lesions for task in plan.tasks) or not any(t.no_backgrounds for t in plan.tasks):
        codes = ", ".join(sorted({problem["code"] for problem in problems}))
        return (
            f"({codes or 'no lesion, and rois.backgrounds_per_image is 0'}); see the ingest audit"
        )
    return (
        "(no_location): lesions are known, but not one has a place; give each a mask or a box, "
        "and for a label of the whole image a box of the whole image; see the ingest audit"
    )


def _cut_and_save(
    task: ImageTask, raw_root: Path, config: CropConfig, path: Path, names: dict[str, str]
) -> None:
    piece = cut_image(task, raw_root, config, names)
    text = json.dumps([piece.rows, piece.problems])
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez(file, crops=piece.crops, masks=piece.masks, text=np.array(text))


class _Cache:
    """Finished mammograms: of an interrupted run, or of an older store."""

    def __init__(self, folder: Path, plan: CropPlan) -> None:
        self.parts = folder.with_name(f".{folder.name}.parts")
        self.plan = plan
        self.prefix = json.dumps(_parameters(plan.config), sort_keys=True)
        self.fingerprints: dict[str, str] = {}
        self.old = _usable_store(folder, plan.config)
        self.old_rows = self.old.manifest.groupby("image_id").indices if self.old else {}

    def fingerprint(self, task: ImageTask) -> str:
        """Hash of all that the crops of a mammogram follow from; files count by size and time."""
        if task.image_id not in self.fingerprints:
            found = task.fingerprint(self.plan.raw_root, self.prefix, self.plan.names)
            self.fingerprints[task.image_id] = found
        return self.fingerprints[task.image_id]

    def part(self, task: ImageTask) -> Path:
        return self.parts / f"{self.fingerprint(task)}.npz"

    def has(self, task: ImageTask) -> bool:
        return self._in_old_store(task) or self.part(task).is_file()

    def _in_old_store(self, task: ImageTask) -> bool:
        return self.old is not None and self.old.tasks.get(task.image_id) == self.fingerprint(task)

    def notes(self, task: ImageTask) -> tuple[list[dict[str, Any]], list[dict[str, str]]]:
        if self.old is None or not self._in_old_store(task):
            with np.load(self.part(task)) as part:
                rows, problems = json.loads(str(part["text"]))
            return rows, problems
        rows = self.old.manifest.iloc[self._positions(task)].to_dict("records")
        audit = self.old.audit
        names = [harmless_cell(lesion.lesion_id) for lesion in task.lesions]
        of_lesion = audit["lesion_id"].isin(names)
        of_image = (audit["lesion_id"] == "") & (audit["file"] == harmless_cell(task.image_path))
        return rows, audit[of_lesion | of_image].to_dict("records")

    def arrays(self, task: ImageTask) -> dict[str, NDArray]:
        if self.old is None or not self._in_old_store(task):
            with np.load(self.part(task)) as part:
                return {"crops": part["crops"], "masks": part["masks"]}
        positions = self._positions(task)
        return {"crops": self.old.crops[positions], "masks": self.old.masks[positions]}

    def _positions(self, task: ImageTask) -> NDArray[np.int64]:
        positions: NDArray[np.int64] = self.old_rows.get(task.image_id, np.empty(0, np.int64))
        return positions


def _usable_store(folder: Path, config: CropConfig) -> CropStore | None:
    """Open an older store whose crops may be reused; log why where there is none."""
    if not CropStore.is_finished(folder):
        return None
    try:
        store = CropStore.open(folder)
    except MiramError as error:
        log.warning("all is cut again: %s", error)
        return None
    if changes := stale_because(store, config):
        log.warning("the crop store %s is stale, all is cut again: %s", folder, "; ".join(changes))
        return None
    return store
