"""Features and probabilities of any number of mammograms: streamed, resumable, then joined.

Each mammogram is decoded once and encoded by itself, so that its rows depend on no other file.
What is finished stands as one small file in a hidden folder beside the output, named by a hash
of all that it follows from; an interrupted run goes on with what is not there. At the end the
parts are joined, a few at a time, and the folder is removed.
"""

import hashlib
import json
import logging
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from joblib import Parallel, cpu_count, delayed
from numpy.typing import NDArray
from pydantic import Field

from miram.configuration import Config
from miram.errors import MiramError
from miram.evaluation.features.crop_encoder import CropEncoder, encode_crops
from miram.files import atomic_path, harmless_table
from miram.mammography.audit import audit_rows
from miram.mammography.crops.cut import CROPPING_VERSION, ImageCrops, ImageTask
from miram.mammography.crops.plan import plan_crops
from miram.mammography.sources import Ingested
from miram.mammography.workers import local_workers
from miram.progress import track
from miram.provenance import git_commit, versions
from miram.serving.predictor import RESEARCH_USE_ONLY, Predictor
from miram.serving.requests import cut_regions

log = logging.getLogger(__name__)

Unit = Literal["image", "patches"]

_QUEUE = 8  # mammograms per worker that may be cut and wait to be encoded
_ROW_GROUP = 1024  # rows held before they are written
_PLACE = ("x0", "y0", "x1", "y1")
_TEXTS = ("region_id", "image_id", "patient_id", "image_path", "kind")
_NUMBERS = ("patches", *_PLACE)


@dataclass(frozen=True)
class Summary:
    """What an embedding gave."""

    mammograms: int  # with at least one row
    rows: int
    left_out: int  # files and lesions that gave none; the audit names them


class EmbeddingConfig(Config):
    """Which model embeds, and what becomes a row.

    A marked lesion is one row. A mammogram in which nothing is marked is represented by patches
    of its breast tissue; with `rows: image` they become one row, the mean of their features,
    and with `rows: patches` one row each.
    """

    model: str = Field(
        "models:/miram-miram_nystrom@champion",
        min_length=1,
        description="a registered model, the folder of a predictor, or an encoder.safetensors, "
        "which has no probe and takes `rois` and `features` of the parameters",
    )
    rows: Unit = "image"
    patches: int | None = Field(
        None, ge=1, description="of an unmarked mammogram; as the model is served if not given"
    )
    workers: int | None = Field(None, ge=1, description="processes that decode; all cores if None")


@dataclass(frozen=True)
class EmbeddingPlan:
    """What is to be embedded."""

    tasks: tuple[ImageTask, ...]  # one per mammogram, in the final order
    raw_root: Path
    predictor: Predictor
    audit: pd.DataFrame  # what was left out before
    rows: Unit  # what becomes a row
    workers: int  # processes that decode; each needs up to 0.5 GB for a film of full size


@dataclass(frozen=True)
class Rows:
    """Rows of the table."""

    names: list[dict[str, Any]]  # what each row is: `region_id` and so on
    features: NDArray[np.float32]  # (n, D)
    probabilities: NDArray[np.float64]  # (n, K)


def plan_embedding(
    ingested: Ingested, raw_root: Path, predictor: Predictor, config: EmbeddingConfig
) -> EmbeddingPlan:
    """Group what a source found, labels or not, by mammogram."""
    if config.patches:
        crops = predictor.crops.model_copy(update={"backgrounds_per_image": config.patches})
        predictor = replace(predictor, crops=crops)
    return EmbeddingPlan(
        tasks=plan_crops(ingested.lesions, raw_root, predictor.crops).tasks,
        raw_root=raw_root,
        predictor=predictor,
        audit=ingested.audit,
        rows=config.rows,
        workers=config.workers or cpu_count(),
    )


def embed(plan: EmbeddingPlan, path: str | Path) -> Summary:
    """Embed all mammograms of a plan.

    The table has `region_id`, `image_id`, `patient_id`, `image_path`, `kind` (`lesion` or
    `tissue`), `patches` (how many crops were averaged), the crop's square `x0`, `y0`, `x1`,
    `y1` in pixels of the mammogram (empty for a mean), `p_<class>` for each class, and the
    features `f0`, `f1` and so on. What made it is in the metadata of its schema. The probe was
    fitted on lesions: for tissue its probabilities are answers to a question that it was not
    taught. The audit stands beside the table, as `<name>.audit.csv`.

    Raises:
        MiramError: Not one mammogram could be embedded; the audit says why.
    """
    path = Path(path)
    folder = path.with_name(f".{path.name}.parts")
    state = f"{plan.predictor.digest()} {plan.rows} "
    parts = [folder / f"{task.fingerprint(plan.raw_root, state, {})}.npz" for task in plan.tasks]
    todo = [
        (task, part) for task, part in zip(plan.tasks, parts, strict=True) if not part.is_file()
    ]
    log.info("%d of %d mammograms to embed", len(todo), len(plan.tasks))
    if todo:
        device = "cuda" if torch.cuda.is_available() else "cpu"
        encoder = CropEncoder(plan.predictor.encoder, plan.predictor.features).eval().to(device)
        cut = track(_cut([task for task, _ in todo], plan), "embedded mammograms", len(todo))
        for (task, part), crops in zip(todo, cut, strict=True):
            _save_part(part, _rows(task, crops, encoder, plan), crops.problems)
    summary = _join_parts(parts, path, plan)
    shutil.rmtree(folder, ignore_errors=True)
    return summary


def _facts(plan: EmbeddingPlan) -> dict[str, str]:
    """What made the table; nothing that differs when it is made again."""
    predictor = plan.predictor
    crops = json.dumps(predictor.crops.stored(), sort_keys=True)
    facts = {
        "notice": RESEARCH_USE_ONLY,
        "model": predictor.origin,
        "predictor_digest": predictor.digest(),
        "training_data_digest": str(predictor.about.get("data_digest", "")),
        "crop_settings_digest": hashlib.sha256(crops.encode()).hexdigest()[:16],
        "cropping_version": str(CROPPING_VERSION),
        "rows": plan.rows,
        "miram_version": versions().get("miram", ""),
        "git_commit": git_commit(),
    }
    return {name: fact for name, fact in facts.items() if fact}


def _cut(tasks: list[ImageTask], plan: EmbeddingPlan) -> Iterator[ImageCrops]:
    """Decode and cut in parallel, never far ahead of what is taken."""
    step = _QUEUE * plan.workers
    with local_workers(), Parallel(n_jobs=plan.workers, return_as="generator") as parallel:
        for start in range(0, len(tasks), step):
            yield from parallel(
                delayed(cut_regions)(task, plan.raw_root, plan.predictor.crops)
                for task in tasks[start : start + step]
            )


def _rows(task: ImageTask, cut: ImageCrops, encoder: CropEncoder, plan: EmbeddingPlan) -> Rows:
    probe = plan.predictor.probe
    if not cut.rows:
        return Rows([], np.empty((0, 0), np.float32), np.empty((0, 0)))
    features = encode_crops(encoder, cut.crops, cut.masks)
    shared = {
        "image_id": task.image_id,
        "patient_id": task.patient_id,
        "image_path": task.image_path,
        "kind": "lesion" if task.lesions else "tissue",
    }
    if plan.rows == "image" and not task.lesions:
        names = [{"region_id": task.image_id, **shared, "patches": len(features)}]
        features = features.mean(axis=0, keepdims=True)
    else:
        names = [
            {
                "region_id": row["crop_id"],
                **shared,
                "patches": 1,
                **{place: row[f"crop_{place}"] for place in _PLACE},
            }
            for row in cut.rows
        ]
    chances = probe.probabilities(features) if probe else np.empty((len(features), 0))
    return Rows(names, features, chances)


def _save_part(path: Path, rows: Rows, problems: list[dict[str, str]]) -> None:
    """Write what one mammogram gave, whole or not at all."""
    text = np.array(json.dumps([rows.names, problems]))
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez(
            file,
            features=rows.features,
            probabilities=rows.probabilities,
            text=text,
        )


def _load_part(path: Path) -> tuple[Rows, list[dict[str, str]]]:
    """Read the rows of a mammogram and its audit rows."""
    with np.load(path, allow_pickle=False) as file:
        names, problems = json.loads(str(file["text"]))
        return Rows(names, file["features"], file["probabilities"]), problems


def _join_parts(parts: Iterable[Path], path: Path, plan: EmbeddingPlan) -> Summary:
    """Write the rows of all parts, a few at a time, into one table, and all problems into an audit.

    The audit is written first.
    """
    problems: list[dict[str, str]] = []
    mammograms = 0
    classes = plan.predictor.probe.classes if plan.predictor.probe else ()
    with atomic_path(path) as temporary:
        with _TableWriter(temporary, classes, _facts(plan)) as writer:
            for part in parts:
                rows, its_problems = _load_part(part)
                problems += its_problems
                if rows.names:
                    writer.add(rows)
                    mammograms += 1
        everything = pd.concat([plan.audit, audit_rows(problems)], ignore_index=True)
        audit_path = path.with_name(f"{path.stem}.audit.csv")
        with atomic_path(audit_path) as audit_file:
            harmless_table(everything).to_csv(audit_file, index=False)
        left_out = everything[everything["action"] == "left out"]
        if not writer.rows:
            raise MiramError(_nothing(left_out, audit_path))
    return Summary(mammograms, writer.rows, len(left_out))


def _nothing(left_out: pd.DataFrame, audit_path: Path) -> str:
    """Why there is no table: how many files by code, with the first of each."""
    reasons = [
        f"{len(rows)} x {code}, such as {rows['file'].iloc[0]} ({rows['detail'].iloc[0]})"
        for code, rows in left_out.groupby("code")
    ]
    if not reasons:
        return "not one mammogram could be embedded: there is no file that looks like one"
    found = "; ".join(reasons)
    return f"not one mammogram could be embedded: {found}. All files are named in {audit_path}"


class _TableWriter:
    """Writes rows as row groups of one Parquet file."""

    def __init__(self, path: Path, classes: tuple[str, ...], facts: dict[str, str]) -> None:
        self.path, self.classes, self.rows = path, classes, 0
        # Once for every reader, and once more where pandas looks for the `attrs` of a table.
        self.metadata = {**facts, "PANDAS_ATTRS": json.dumps(facts)}
        self.waiting: list[Rows] = []
        self.file: pq.ParquetWriter | None = None

    def __enter__(self) -> "_TableWriter":
        return self

    def __exit__(self, *_: object) -> None:
        self._write()
        if self.file:
            self.file.close()

    def add(self, rows: Rows) -> None:
        self.rows += len(rows.names)
        self.waiting.append(rows)
        if sum(len(waiting.names) for waiting in self.waiting) >= _ROW_GROUP:
            self._write()

    def _write(self) -> None:
        if not self.waiting:
            return
        names = [name for rows in self.waiting for name in rows.names]
        features = np.concatenate([rows.features for rows in self.waiting])
        chances = np.concatenate([rows.probabilities for rows in self.waiting])
        self.waiting.clear()
        columns: dict[str, Any] = {
            **{key: pa.array([name[key] for name in names], pa.string()) for key in _TEXTS},
            **{key: pa.array([name.get(key) for name in names], pa.int64()) for key in _NUMBERS},
            **{f"p_{label}": chances[:, k] for k, label in enumerate(self.classes)},
            **{f"f{k}": features[:, k] for k in range(features.shape[1])},
        }
        table = pa.table(columns).replace_schema_metadata(self.metadata)
        self.file = self.file or pq.ParquetWriter(self.path, table.schema)
        self.file.write_table(table)
