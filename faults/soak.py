"""A long training and thousands of files in one process: memory, handles and threads stay flat.

python faults/soak.py --steps 2000 --files 4000
"""

import argparse
import os
import shutil
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import mutations
import psutil
import study
from record import PROJECT, Tried, record

_STEPS_PER_EPOCH = 4  # of the phantom below, checked by the number of rows that MLflow has
_GROWTH = 20 * 2**20  # bytes of memory that may come late, such as for the last checkpoint
_MORE = 2  # handles or threads that a moment may have more than another


class Use:
    """What a process uses, sampled over its life."""

    def __init__(self, process: psutil.Process) -> None:
        self.process = process
        self.samples: list[tuple[int, int, int]] = []

    def sample(self) -> None:
        """Note memory, handles and threads."""
        with self.process.oneshot():
            memory = self.process.memory_info().rss
            self.samples.append((memory, self.process.num_fds(), self.process.num_threads()))

    def compare(self, tried: Tried) -> dict[str, tuple[int, int]]:
        """Compare the second quarter of the samples with the last."""
        quarter = len(self.samples) // 4
        early, late = (
            _medians(part)
            for part in (self.samples[quarter : 2 * quarter], self.samples[-quarter:])
        )
        names = ("memory", "handles", "threads")
        for name, before, after, room in zip(
            names, early, late, (_GROWTH, _MORE, _MORE), strict=True
        ):
            if after > before + room:
                tried.fault(f"{name} grow from {before:,} to {after:,}")
        pairs = zip(early, late, strict=True)
        return dict(zip(names, pairs, strict=True))


def _medians(samples: Sequence[tuple[int, int, int]]) -> tuple[int, ...]:
    return tuple(int(statistics.median(values)) for values in zip(*samples, strict=True))


def train(folder: Path, steps: int) -> tuple[Tried, dict[str, tuple[int, int]]]:
    """One training of so many steps by `kedro run`, watched from outside."""
    tried = Tried("steps of one training, watched")
    root = folder / "soak"
    shutil.rmtree(root, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    epochs = -(-steps // _STEPS_PER_EPOCH)
    params = "methods=mae,phantom.patients=24,training.log_every=1,training.validate_every=1000000"
    process = study.start(
        root,
        "--pipelines",
        "phantom,ingest,rois,pretrain",
        params=f"{params},training.epochs={epochs}",
    )
    use = Use(psutil.Process(process.pid))
    while process.poll() is None:
        if any(root.glob("06_models/mae/training/*.pt")):  # the training has begun
            use.sample()
        time.sleep(0.5)
    if process.returncode:
        tried.fault(f"status {process.returncode}: {study.log_of(root).read_text()[-800:]}")
        return tried, {}
    taken, rows = _steps_in_mlflow(root)
    if taken < steps or rows != taken:
        tried.fault(f"{taken} steps, {rows} losses in MLflow, {steps} asked for")
    about = use.compare(tried)
    tried.outcome["steps; memory, handles and threads flat"] = taken if not tried.faults else 0
    return tried, about


def _steps_in_mlflow(root: Path) -> tuple[int, int]:
    """Last step and number of losses that MLflow has."""
    with sqlite3.connect(root / "mlflow/mlflow.db") as database:
        query = "select max(step), count(*) from metrics where key = 'loss'"
        last, rows = database.execute(query).fetchone()
    return int(last or 0), int(rows)


def read(count: int) -> tuple[Tried, dict[str, tuple[int, int]]]:
    """So many image files, sound and damaged ones, read and cut in one process and its worker."""
    from images import CROPS

    from miram.mammography.crops.cut import ImageTask, cut_image
    from miram.mammography.decoding.headers import read_header
    from miram.mammography.decoding.read import DecodingError

    tried, use = Tried("image files read and cut by one process"), Use(psutil.Process(os.getpid()))
    with tempfile.TemporaryDirectory() as name:
        folder, names = Path(name), []
        for film, content in mutations.films().items():
            (folder / film).write_bytes(content)
            (folder / f"cut_{film}").write_bytes(content[: len(content) // 2])
            names += [film, f"cut_{film}"]
        for number in range(count):
            file = names[number % len(names)]
            with suppress(DecodingError):
                read_header(folder / file)
            cut_image(ImageTask("image", file, "patient", ()), folder, CROPS)
            if number % 20 == 0:
                use.sample()
    workers = len(psutil.Process().children())
    if workers > 1:
        tried.fault(f"{workers} workers are left")
    about = use.compare(tried)
    tried.outcome["files; memory, handles and threads flat"] = count if not tried.faults else 0
    return tried, about


def main() -> int:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--files", type=int, default=4000)
    asked = parser.parse_args()
    files, of_files = read(asked.files)
    steps, of_steps = train(PROJECT / "build/faults", asked.steps)
    return record("soak", [steps, files], 0, training=of_steps, files=of_files)


if __name__ == "__main__":
    sys.exit(main())
