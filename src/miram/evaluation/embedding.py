"""Features and probabilities of any number of mammograms: streamed, resumable, then joined.

Each mammogram is decoded once and encoded by itself, so that its rows depend on no other file.
What is finished stands as one small file in a hidden folder beside the output, named by a hash
of all that it follows from; an interrupted run goes on with what is not there. At the end the
parts are joined, a few at a time, and the folder is removed.
"""

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import torch
from joblib import Parallel, delayed
from pydantic import Field

from miram.configuration import Config
from miram.evaluation.crop_encoder import CropEncoder, encode_crops
from miram.evaluation.embedding_parts import Part, Rows, Summary, join_parts
from miram.evaluation.predictor import RESEARCH_USE_ONLY, Predictor
from miram.evaluation.regions import cut_regions
from miram.mammography.crop_plan import plan_crops
from miram.mammography.cropping import CROPPING_VERSION, ImageCrops, ImageTask
from miram.mammography.sources import Ingested
from miram.progress import track
from miram.provenance import git_commit, versions

log = logging.getLogger(__name__)

Unit = Literal["image", "patches"]

_QUEUE = 8  # mammograms per worker that may be cut and wait to be encoded
_PLACE = ("x0", "y0", "x1", "y1")


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
    """What is to be embedded.

    Attributes:
        tasks: One per mammogram, in the final order.
        raw_root: Folder of the raw data.
        predictor: What embeds them.
        audit: What was left out before.
        rows: What becomes a row.
        workers: Processes that decode; each needs up to 0.5 GB for a film of full size.
    """

    tasks: tuple[ImageTask, ...]
    raw_root: Path
    predictor: Predictor
    audit: pd.DataFrame
    rows: Unit = "image"
    workers: int = 1


def plan_embedding(
    ingested: Ingested, raw_root: Path, predictor: Predictor, config: EmbeddingConfig
) -> EmbeddingPlan:
    """Group what a source found by mammogram.

    Args:
        ingested: Lesion table and audit of a source; labels are not needed.
        raw_root: Folder that its paths are relative to.
        predictor: What embeds.
        config: What becomes a row.
    """
    if config.patches:
        crops = predictor.crops.model_copy(update={"backgrounds_per_image": config.patches})
        predictor = replace(predictor, crops=crops)
    return EmbeddingPlan(
        tasks=plan_crops(ingested.lesions, raw_root, predictor.crops).tasks,
        raw_root=raw_root,
        predictor=predictor,
        audit=ingested.audit,
        rows=config.rows,
        workers=config.workers or len(os.sched_getaffinity(0)),
    )


def embed(plan: EmbeddingPlan, path: str | Path) -> Summary:
    """Embed all mammograms of a plan.

    The table has `region_id`, `image_id`, `patient_id`, `image_path`, `kind` (`lesion` or
    `tissue`), `patches` (how many crops were averaged), the crop's square `x0`, `y0`, `x1`,
    `y1` in pixels of the mammogram (empty for a mean), `p_<class>` for each class, and the
    features `f0`, `f1` and so on. What made it is in the metadata of its schema. The probe was
    fitted on lesions: for tissue its probabilities are answers to a question that it was not
    taught.

    Args:
        plan: What to embed.
        path: Parquet file to write; the audit stands beside it, as `<name>.audit.csv`.

    Returns:
        How many mammograms were embedded and left out.

    Raises:
        MiramError: Not one mammogram could be embedded; the audit says why.
    """
    path = Path(path)
    parts = _Parts(plan, path)
    todo = [task for task in plan.tasks if not parts.of(task).path.is_file()]
    log.info("%d of %d mammograms to embed", len(todo), len(plan.tasks))
    if todo:
        device = "cuda" if torch.cuda.is_available() else "cpu"
        encoder = CropEncoder(plan.predictor.encoder, plan.predictor.features).eval().to(device)
        cut = track(_cut(todo, plan), "embedded mammograms", total=len(todo))
        for task, crops in zip(todo, cut, strict=True):
            parts.of(task).save(_rows(task, crops, encoder, plan), crops.problems)
    classes = plan.predictor.probe.classes if plan.predictor.probe else ()
    finished = (parts.of(task) for task in plan.tasks)
    summary = join_parts(finished, path, classes, plan.audit, _facts(plan))
    shutil.rmtree(parts.folder, ignore_errors=True)
    return summary


def _facts(plan: EmbeddingPlan) -> dict[str, str]:
    """What made the table; nothing that differs when it is made again."""
    predictor = plan.predictor
    crops = json.dumps(predictor.crops.model_dump(mode="json"), sort_keys=True)
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
    with Parallel(n_jobs=plan.workers, return_as="generator") as parallel:
        for start in range(0, len(tasks), step):
            yield from parallel(
                delayed(cut_regions)(task, plan.raw_root, plan.predictor.crops)
                for task in tasks[start : start + step]
            )


def _rows(task: ImageTask, cut: ImageCrops, encoder: CropEncoder, plan: EmbeddingPlan) -> Rows:
    """The rows of one mammogram."""
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


class _Parts:
    """Where the finished part of a mammogram stands."""

    def __init__(self, plan: EmbeddingPlan, path: Path) -> None:
        self.raw_root = plan.raw_root
        self.folder = path.with_name(f".{path.name}.parts")
        self.prefix = f"{plan.predictor.digest()} {plan.rows} "

    def of(self, task: ImageTask) -> Part:
        """The part of a mammogram, by a hash of all that it follows from.

        Files count by name, size and time of change; reading them takes as long as decoding.
        """
        paths = [self.raw_root / name for name in task.files]
        stats = [path.stat() if path.exists() else None for path in paths]
        states = [stat and (stat.st_size, stat.st_mtime_ns) for stat in stats]
        text = self.prefix + json.dumps([asdict(task), states])
        return Part(self.folder / f"{hashlib.sha256(text.encode()).hexdigest()[:32]}.npz")
