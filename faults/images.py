"""Thousands of damaged image files through ingestion and cropping, as a study does it.

    python faults/images.py --count 20000

Each file must end as crops, or as a row of the audit that names it. Anything else is a fault, and
the file is kept under build/faults.
"""

import argparse
import random
import sys
import tempfile
import time
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import mutations
import psutil
from record import PROJECT, Tried, record

from miram.errors import MiramError
from miram.mammography.crops.cut import CropConfig, ImageTask, LesionTask, cut_image
from miram.mammography.crops.geometry import Box
from miram.mammography.sources import make_source
from miram.mammography.sources.base import NothingFoundError

KEPT = PROJECT / "build/faults"
CROPS = CropConfig(image_size=64, context=1.25, backgrounds_per_image=1)
_BATCH = 50
_SLOWEST = 75.0  # seconds: the limit of a file's own process on a busy machine, and cutting
_LARGEST = 4 * 2**30  # bytes of this process, which holds decoded images of 80 million pixels


def attack(count: int, seed: int) -> tuple[list[Tried], dict[str, Any]]:
    """Damage and read so many files; gives what became of them, and the worst time and memory."""
    draw = random.Random(seed)
    ingested, cut = Tried("damaged image files, ingested"), Tried("damaged image files, cropped")
    films, others = mutations.films(), mutations.test_files()
    seeds = films | others
    contents, slowest, codes = list(seeds.values()), 0.0, Counter[str]()
    with tempfile.TemporaryDirectory() as name, warnings.catch_warnings():
        warnings.simplefilter("error")  # a warning in a log may quote a header
        for start in range(0, count, _BATCH):
            folder = Path(name, str(start))
            folder.mkdir()
            for number in range(start, min(start + _BATCH, count)):
                chosen = draw.choice(list(films if draw.random() < 0.7 else others))
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    content = mutations.mutated(seeds[chosen], chosen, contents, draw)
                (folder / f"{number}_{chosen}").write_bytes(content)
            _ingest(folder, ingested)
            for path in sorted(folder.iterdir()):
                began = time.monotonic()
                _cut(path, draw, cut, codes)
                took = time.monotonic() - began
                slowest = max(slowest, took)
                if took > _SLOWEST:
                    _keep(path, cut, f"{took:.0f} s")
                path.unlink()
            if start % 1000 == 0:
                print(start, dict(cut.outcome), f"{slowest:.1f} s", flush=True)
    memory = psutil.Process().memory_info().rss
    if memory > _LARGEST:
        cut.fault(f"the process that reads the files holds {memory:,} bytes")
    about: dict[str, Any] = {"codes": dict(codes.most_common())}
    about |= {"slowest_file_s": round(slowest, 1), "memory_mb": round(memory / 2**20)}
    return [ingested, cut], about


def _ingest(folder: Path, tried: Tried) -> None:
    """Each file must be a row of the lesion table or of the audit."""
    names = {path.name for path in folder.iterdir()}
    try:
        found = make_source("dicom_folder").ingest(folder)
        taken, audit = set(found.lesions["image_path"]), found.audit
    except NothingFoundError as error:
        taken, audit = set(), error.audit
    except Exception as error:
        tried.fault(f"{type(error).__name__}: {error}")
        for path in folder.iterdir():
            _keep(path, tried, f"one of these: {error}", counted=False)
        return
    left_out = audit[audit["action"] == "left out"].set_index("file")["code"]
    for name in names:
        if name in taken:
            tried.outcome["taken"] += 1
        elif name in left_out.index:
            tried.outcome["left out, with a row of the audit"] += 1
        else:
            _keep(folder / name, tried, "neither taken nor in the audit")


def _cut(path: Path, draw: random.Random, tried: Tried, codes: Counter[str]) -> None:
    """A lesion by a box, or one whose mask is the file itself; and patches of tissue."""
    masks = (path.name,) if draw.random() < 0.3 else ()
    lesion = LesionTask("lesion", masks, None if masks else Box(2, 2, 30, 40))
    lesions = (lesion,) if draw.random() < 0.8 else ()
    try:
        found = cut_image(ImageTask("image", path.name, "patient", lesions), path.parent, CROPS)
    except MiramError as error:
        _keep(path, tried, f"ends the run: {error}")
    except Exception as error:
        _keep(path, tried, f"{type(error).__name__}: {error}")
    else:
        if len(found.crops) != len(found.rows) or found.crops.shape[1:] != (64, 64):
            _keep(path, tried, f"{found.crops.shape} crops, {len(found.rows)} rows")
        elif found.rows:
            tried.outcome["decoded and cut"] += 1
        elif found.problems:
            tried.outcome["refused, with a row of the audit"] += 1
            codes.update({problem["code"] for problem in found.problems})
        else:
            _keep(path, tried, "neither a crop nor a row of the audit")


def _keep(path: Path, tried: Tried, text: str, counted: bool = True) -> None:
    KEPT.mkdir(parents=True, exist_ok=True)
    (KEPT / path.name).write_bytes(path.read_bytes())
    if counted:
        tried.fault(f"{path.name}: {text}")


def main() -> int:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=20_000, help="damaged files")
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    tried, about = attack(asked.count, asked.seed)
    return record("images", tried, asked.seed, **about)


if __name__ == "__main__":
    sys.exit(main())
