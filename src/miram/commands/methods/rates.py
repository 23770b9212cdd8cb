"""How fast this machine takes the stages of a study, with the project's settings and made-up data.

Each function gives rows with the `stage`, `what` was done, its `rate` in a `unit`, and notes.
"""

import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
import torch

from miram.errors import MiramError
from miram.evaluation.config import AssessmentConfig
from miram.evaluation.probes.protocols import TrainingLesions
from miram.mammography.crops.cut import CropConfig
from miram.mammography.crops.plan import build_crop_store, plan_crops
from miram.mammography.phantom import PhantomConfig, phantom_files
from miram.mammography.sources import make_source
from miram.models.encoder import EncoderConfig
from miram.models.methods import choose_methods
from miram.models.methods.config import MethodConfig
from miram.models.methods.kinds import build_on_meta_device, methods_of
from miram.training.config import TrainingConfig, recipe_of
from miram.training.data.batches import InputSpec, Samples, make_batch, prefetch
from miram.training.data.sampling import steps_from
from miram.training.device import find_device
from miram.training.loop import train

_STEPS = 24  # of a training; a third of them warms up
_PATIENTS = 12  # of the phantom that is ingested
_LESIONS, _FEATURES = 700, 384  # as the default study's


class Rate(NamedTuple):
    """A row: how often per second, and what it took besides."""

    stage: str
    what: str
    rate: float
    unit: str
    note: str = ""


def step_rates(parameters: dict[str, Any], method: str | None, device: str) -> Iterator[Rate]:
    """Train each method for some steps on random crops, without validation."""
    for name, config, encoder, recipe in _trained(parameters, method, device):
        model: Any = config.without_files().build(encoder, seed=0)
        size, count = config.crop_size(encoder), _STEPS * recipe.samples_per_step
        history = train(
            model,
            _crops(count, size),
            size,
            recipe,
            labels=np.zeros(count, np.int64),
            lesion=np.zeros((count, 8, 8), np.uint8),
        ).history
        settled = history[history["step"] > _STEPS // 3]
        memory = f"{history['peak_memory_gb'].max():.1f} GB at the peak"
        yield Rate("step", name, settled["images_per_second"].median(), "images/s", memory)


def loader_rates(parameters: dict[str, Any], method: str | None, device: str) -> Iterator[Rate]:
    """Gather and augment batches as the training of each method does, without a model."""
    for name, config, encoder, recipe in _trained(parameters, method, device):
        spec = InputSpec.of(build_on_meta_device(config, encoder))
        batch, size = recipe.samples_per_step, config.crop_size(encoder)
        count, where = _STEPS * batch, find_device(recipe.device)
        labels, lesion = np.zeros(count, np.int64), np.zeros((count, 8, 8), np.uint8)
        crops, rows = _crops(count, size), np.arange(count)
        samples = Samples.place(crops, rows, labels, lesion, where, recipe.crop_cache)
        started = time.perf_counter()
        for step in prefetch(steps_from(0, 0, count, batch, 1), samples, spec, seed=0):
            for part in step.batch.micro_batches(recipe.micro_batch):
                make_batch(samples, part, size, spec, recipe.augmentation)
        if where.type == "cuda":
            torch.cuda.synchronize(where)
        yield Rate("loader", name, count / (time.perf_counter() - started), "images/s")


def ingest_rates(parameters: dict[str, Any]) -> Iterator[Rate]:
    """Draw a phantom of a few patients, read its tables and headers, and cut its crops."""
    settings = {**parameters["phantom"], "patients": _PATIENTS}
    with TemporaryDirectory() as folder:
        raw = Path(folder) / "raw"
        started, count = time.perf_counter(), 0
        for name, content in phantom_files(PhantomConfig.model_validate(settings)):
            (raw / name).parent.mkdir(parents=True, exist_ok=True)
            (raw / name).write_bytes(content)
            count += 1
        yield Rate("ingest", "phantom written", count / _since(started), "files/s")
        started = time.perf_counter()
        lesions = make_source("phantom").ingest(raw).lesions
        yield Rate("ingest", "tables and headers read", count / _since(started), "files/s")
        started = time.perf_counter()
        plan = plan_crops(lesions, raw, CropConfig.model_validate(parameters["rois"]))
        store = build_crop_store(plan, Path(folder) / "crops")
        seconds = _since(started)
        films = lesions["image_id"].nunique()
        note = f"{len(store.crops) / seconds:.1f} crops/s"
        yield Rate("ingest", "mammograms decoded and cut", films / seconds, "images/s", note)


def probe_rates(parameters: dict[str, Any]) -> Iterator[Rate]:
    """Fit the linear probe, its penalty chosen by inner folds, to features of little signal."""
    probe = AssessmentConfig.model_validate(parameters["evaluation"]).linear_probe
    rng = np.random.default_rng(0)
    features = rng.standard_normal((_LESIONS, _FEATURES))
    latent = features[:, :8].sum(axis=1) + 6 * rng.standard_normal(_LESIONS)
    for classes in (2, 4):
        labels = np.searchsorted(np.quantile(latent, np.arange(1, classes) / classes), latent)
        train = TrainingLesions(features, labels, np.arange(_LESIONS) // 2, classes)
        started = time.perf_counter()
        probe.scores(train, features)
        what = f"{classes} classes, {_LESIONS} lesions of {_FEATURES} features"
        yield Rate("probe", what, 1 / _since(started), "fits/s")


def _trained(
    parameters: dict[str, Any], method: str | None, device: str
) -> Iterator[tuple[str, MethodConfig, EncoderConfig, TrainingConfig]]:
    """Methods of the study that are trained, or the one that is asked for, and one epoch of it."""
    encoder = EncoderConfig.model_validate(parameters["encoder"])
    # By the loop's own clock, so a row of history for every step; nothing to validate or to keep.
    once = {"log_every": 1, "validate_every": None, "select": "last", "device": device}
    training = TrainingConfig.model_validate({**parameters["training"], **once})
    asked = [method] if method else choose_methods(parameters["methods"], parameters)
    found = {name: methods_of(parameters, name)[name] for name in asked}
    trained = {name: config for name, config in found.items() if config.trained}
    if not trained:
        raise MiramError(f"{', '.join(found)}: nothing is trained, so there is no step to time")
    for name, config in trained.items():
        recipe = recipe_of(config, training)
        optimizer = recipe.optimizer.model_copy(update={"warmup_epochs": 0.0})
        yield name, config, encoder, recipe.model_copy(update={"epochs": 1, "optimizer": optimizer})


def _crops(count: int, size: int) -> np.ndarray:
    """(count, size, size) uint16."""
    return np.random.default_rng(0).integers(0, 65_536, (count, size, size), np.uint16)


def _since(started: float) -> float:
    return time.perf_counter() - started
