"""One flipped byte in whatever a study wrote is reported before anything is computed from it."""

import random

import pandas as pd
import pytest
from kedro.io import DatasetError

from miram.commands.data.verify import find_problems

# Pages for people, records of runs and lists of sums: no result is computed from them.
READ_BY_NOBODY = {"report.html", "claim.md", "model_card.md", ".sha256", ".run.json", ".run.lock"}


def kinds(study):
    """One file of each name, and one raw image."""
    found = {}
    for path in sorted(study.rglob("*")):
        name = path.suffix if path.suffix == ".dcm" else path.name
        if path.is_file() and "mlflow" not in path.parts and name not in READ_BY_NOBODY:
            found.setdefault(name, path)
    return {name: path for name, path in found.items() if path.stat().st_size}


def flip(path, place):
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


def test_a_flipped_byte_in_every_kind_of_file_is_told(copied):
    assert find_problems(copied) == []
    found = kinds(copied)
    manifest = pd.read_parquet(found["manifest.parquet"])
    assert {"features.parquet", "encoder.safetensors", "finished.pt", "crops.npy", ".dcm"} <= set(
        found
    )
    for name, path in found.items():
        if name in ("tasks.json", ".written-by-miram"):
            continue  # says what need not be made again: at worst, it is made again
        for place in (0, random.randrange(path.stat().st_size), -1):
            flip(path, place)
            reported = find_problems(copied)
            if name == "manifest.parquet" and not reported:  # it is compared by what it holds
                pd.testing.assert_frame_equal(pd.read_parquet(path), manifest)
            else:
                assert len(reported) >= 1 and str(path.parent) in reported[0], (
                    name,
                    place,
                    reported,
                )
            flip(path, place)
    assert find_problems(copied) == []


def test_what_a_later_step_loads_is_refused_and_the_file_named(copied, open_context):
    read = {
        "lesions": "lesions.parquet",
        "ingest_audit": "ingest_audit.csv",
        "splits": "splits.parquet",
        "crops": "crops.npy",
        "mae.encoder": "encoder.safetensors",
        "mae.pretrained": "pretrained.safetensors",
        "mae.training_record": "history.csv",
        "mae.features": "features.parquet",
        "mae.evaluation": "metrics.json",
        "leaderboard": "leaderboard.csv",
        "mammograms": ".dcm",
    }
    for dataset, name in read.items():
        methods = [path for path in copied.rglob(f"*{name}") if path.is_file()]
        path = next((path for path in methods if "mae" in path.parts), methods[0])
        flip(path, -1)
        catalog = open_context(copied).catalog
        with pytest.raises(DatasetError, match=rf"{path.name}.*damaged|damaged \({path.name}"):
            catalog.load(dataset)
        flip(path, -1)
        catalog.load(dataset)


def test_what_can_be_made_again_is_made_again(copied, open_context, caplog):
    catalog = open_context(copied).catalog
    flip(copied / "04_feature/mae/features.parquet", -1)
    assert catalog.load("mae.stored_features") is None
    flip(copied / "06_models/mae/training/finished.pt", -1)
    assert catalog.load("mae.training_folder").result() is None
    assert "the method is trained again" in caplog.text
