"""Cost against size: time per row should stay flat up to 100,000 rows. `make bench`."""

import time

import numpy as np
import pandas as pd
import pytest
from small import BATCH, small_mae, small_training

from miram.evaluation.statistics.bootstrap import cluster_bootstrap
from miram.mammography.crops.store import CropStore, write_store
from miram.mammography.splits import SplitConfig, assign_splits
from miram.training.loop import train

SIZES = [100, 1_000, 10_000, 100_000]
SIDE = 32  # pixels of a crop: the cost of a row, not of its pixels


def lesions(count: int) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    patient = np.arange(count) // 2
    return pd.DataFrame(
        {
            "lesion_id": [f"L{row:06d}" for row in range(count)],
            "patient_id": [f"P{one:06d}" for one in patient],
            "pathology": rng.choice(["BENIGN", "MALIGNANT"], count // 2)[patient],
            "abnormality_type": rng.choice(["mass", "calcification"], count),
            "official_split": None,
        }
    )


def split(count: int, _) -> None:
    assert len(assign_splits(lesions(count), SplitConfig(strategy="cv"))) == count


def store(count: int, folder) -> None:
    manifest = lesions(count)[["lesion_id", "patient_id"]].rename(columns={"lesion_id": "crop_id"})
    manifest["kind"] = "lesion"
    piece = {"crops": np.zeros((100, SIDE, SIDE), np.uint16), "masks": np.zeros((100, 8, 8), "u1")}
    pieces = (piece for _ in range(count // 100))
    audit = pd.DataFrame(columns=["code"])
    write_store(folder / "store", pieces, manifest=manifest, audit=audit, parameters={}, tasks={})
    assert len(CropStore.open(folder / "store").crops) == count


def bootstrap(count: int, _) -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, count)
    scores = labels + rng.standard_normal(count)
    cluster_bootstrap(labels, scores, np.arange(count) // 2, ["auc"], draws=200, seed=0)


@pytest.mark.parametrize("work", [split, store, bootstrap])
def test_time_per_row_by_size(benchmark, tmp_path, work):
    work(SIZES[0], tmp_path)  # imports
    per_row = {}
    for size in SIZES:
        started = time.process_time()
        work(size, tmp_path)
        per_row[size] = (time.process_time() - started) / size
        benchmark.extra_info[f"microseconds_per_row_{size}"] = 1e6 * per_row[size]
    benchmark.pedantic(work, args=(SIZES[0], tmp_path), rounds=1)
    benchmark.extra_info["ratio_flat"] = per_row[1_000] / per_row[100_000]


def test_training_from_a_store_larger_than_memory(benchmark, take_turns, tmp_path):
    """A file of 32 GB with holes, read at random, against the same crops in memory."""
    path, side, steps = tmp_path / "crops.npy", 128, 20
    count = 32 * 10**9 // (2 * side**2)
    large = np.lib.format.open_memmap(path, "w+", np.uint16, (count, side, side))
    few = np.zeros((BATCH * steps, side, side), np.uint16)
    config = small_training("host")
    spread = np.random.default_rng(0).choice(count, len(few), replace=False)
    model = small_mae()
    found = take_turns(
        {
            "memory": lambda: train(model, few, 64, config),
            "file": lambda: train(model, large, 64, config, rows=spread),
        }
    )
    benchmark.extra_info["gigabytes"] = path.stat().st_size / 1e9
    benchmark.extra_info["ratio_in_memory"] = found["memory"] / found["file"]
