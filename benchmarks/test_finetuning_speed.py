"""Speed of fine-tuning: `make bench`. Processor seconds count; the machine is shared.

Goal: at most 1.1 times the processor time of a plain PyTorch loop over the same crops, with the
same model, batch, augmentation and optimizer, that validates after every epoch and keeps the best
weights. The loop has no resume, no guard against what is not finite, no micro-batches and no
records; the two take turns.
"""

import copy
import statistics
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import pandas as pd
import torch
from sklearn.metrics import roc_auc_score

from miram.finetuning.config import FinetuningConfig, RecipeConfig
from miram.finetuning.evaluate import ClassifierMetrics
from miram.finetuning.model import FineTuned, classify
from miram.finetuning.train import LabeledCrops, finetune
from miram.mammography.crops.store import CropStore, write_store
from miram.models.checkpoints.files import EncoderCheckpoint
from miram.models.encoder import EncoderConfig
from miram.models.methods.supervised import class_weights
from miram.training.checkpointing.folder import TrainingFolder
from miram.training.config import TrainingConfig
from miram.training.data.augmentation import DRAWS, AugmentationConfig, augment
from miram.training.optimizer import OptimizerConfig

SIDE, COUNT, TRAINED, EPOCHS, BATCH, ROUNDS = 64, 640, 512, 3, 32, 3
ENCODER = EncoderConfig(
    name="vit_tiny_patch16_224", image_size=SIDE, patch_size=8, overrides={"depth": 4}
)
RECIPE = RecipeConfig(
    epochs=EPOCHS,
    batch_size=BATCH,
    pooling="patches",
    drop_path=0.0,
    optimizer=OptimizerConfig(
        kind="adam", base_lr=8e-5, weight_decay=0.01, beta2=0.999, warmup_epochs=0
    ),
    augmentation=AugmentationConfig(
        min_area=0.694, aspect=1.0, vertical_flip=0.5, rotation=25, brightness=20 / 255
    ),
)
CONFIG = FinetuningConfig(
    task="pathology", recipe="paper", recipes={"paper": RECIPE}, validation_share=0.2
)
TRAINING = TrainingConfig(epochs=1, batch_size=BATCH, precision="fp32", device="cpu")


def collection(folder) -> LabeledCrops:
    random = np.random.default_rng(0)
    names = [f"lesion{i:03d}" for i in range(COUNT)]
    patients = np.array([f"P{i // 2:03d}" for i in range(COUNT)])
    crops = random.integers(0, 65_536, (COUNT, SIDE, SIDE), dtype=np.uint16)
    manifest = pd.DataFrame({"crop_id": names, "kind": "lesion", "patient_id": patients})
    pieces = [{"crops": crops, "masks": np.zeros((COUNT, 8, 8), np.uint8)}]
    audit = pd.DataFrame(columns=["code"])
    write_store(folder, pieces, manifest=manifest, audit=audit, parameters={}, tasks={})
    store = CropStore(folder, manifest, audit, {"digest": "abc"})
    table = pd.DataFrame({"lesion_id": names, "patient_id": patients, "strategy": "official"})
    table["leakage"], table["split"] = "drop", np.where(np.arange(COUNT) < TRAINED, "train", "val")
    labels = np.repeat(random.integers(0, 2, COUNT // 2), 2)
    return LabeledCrops(store, table, labels, ("benign", "malignant"), "binary")


def plain_loop(data: LabeledCrops, encoder: EncoderCheckpoint) -> None:
    """What one would write without the project's engine."""
    train = np.flatnonzero(data.table["split"] == "train")
    validate = np.flatnonzero(data.table["split"] == "val")
    model = FineTuned(
        encoder, "patches", class_weights(data.labels[train], 2), several=False
    ).train()
    crops, labels = torch.from_numpy(data.store.crops[train]), torch.from_numpy(data.labels[train])
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-5, weight_decay=0.01, fused=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, EPOCHS * len(train) // BATCH)
    best, kept = -1.0, None
    for _ in range(EPOCHS):
        for rows in torch.randperm(len(train)).split(BATCH):
            images = augment(crops[rows], torch.rand(len(rows), DRAWS), RECIPE.augmentation)
            optimizer.zero_grad()
            model(images, labels[rows]).loss.backward()
            optimizer.step()
            schedule.step()
        scores = classify(model.eval(), data.store.crops, validate)
        auc = roc_auc_score(data.labels[validate], scores[:, 1])
        if auc > best:
            best, kept = auc, copy.deepcopy(model.state_dict())
        model.train()
    assert kept is not None


def engine(data: LabeledCrops, encoder: EncoderCheckpoint, folder: TrainingFolder) -> None:
    _, history = finetune(
        data, encoder, CONFIG, TRAINING, ClassifierMetrics("binary", 0), folder=folder
    )
    assert len(history)


def test_fine_tuning_against_a_plain_loop(benchmark, tmp_path):
    data = collection(tmp_path / "crops")
    header = {"timm": ENCODER.timm_arguments, "image_size": SIDE}
    encoder = EncoderCheckpoint.of(ENCODER.build(0), header)
    seconds: dict[str, list[float]] = {"plain": [], "engine": []}

    def measure(name: str, work: Callable[[], None], counts: bool) -> None:
        started = time.process_time()
        work()
        if counts:
            seconds[name].append(time.process_time() - started)

    def take_turns() -> None:
        for turn in range(ROUNDS + 1):
            folder = TrainingFolder(tmp_path / str(turn))
            counts = turn > 0  # the first turn fills caches
            measure("plain", partial(plain_loop, data, encoder), counts)
            measure("engine", partial(engine, data, encoder, folder), counts)

    benchmark.pedantic(take_turns, rounds=1)
    ratios = [ours / theirs for theirs, ours in zip(*seconds.values(), strict=True)]
    images = EPOCHS * TRAINED
    benchmark.extra_info |= {
        "ratio_plain_loop": 1 / statistics.median(ratios),
        "images_per_processor_second": images / statistics.median(seconds["engine"]),
        "images_per_processor_second_plain": images / statistics.median(seconds["plain"]),
    }
