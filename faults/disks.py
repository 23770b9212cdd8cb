"""Disks that are full or closed, and an MLflow that is away, locked or damaged.

    sudo python faults/disks.py

A run must end with one error in words, or go on; once there is room, the same command gives the
results of a run that was never disturbed. Mounting a small disk needs root.
"""

import argparse
import os
import random
import shutil
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import study
from record import PROJECT, Tried, record

# Where a study writes; each is closed by itself.
_LAYERS = (
    *("", "01_raw", "02_intermediate", "04_feature", "05_model_input"),
    *("06_models", "07_model_output", "08_reporting", "mlflow"),
)


@contextmanager
def mounted(folder: Path, *options: str) -> Iterator[Callable[[str], None]]:
    """A file system at a folder; gives a function that mounts it anew with other options."""
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", *options, str(folder)], check=True)

    def again(changed: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{changed}", str(folder)], check=True)

    try:
        yield again
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def full(whole: Path, steps: int, seed: int) -> Tried:
    """A disk with room for the part of a study that is drawn, then for a little more, then all."""
    tried, draw = Tried("a full disk during `kedro run`"), random.Random(seed)
    size = sum(path.stat().st_size for path in whole.rglob("*") if path.is_file())
    sizes = sorted(int(size * draw.random()) for _ in range(steps))
    folder = whole.with_name("small_disk")
    with mounted(folder, "-t", "tmpfs", "-o", f"size={sizes[0]}", "tmpfs") as again:
        for room in sizes:
            again(f"size={room}")
            status, said = study.run(folder / "study")
            if study.mendable(status, said) and "No space left" in said:
                tried.outcome["one error in words"] += 1
            else:
                tried.fault(f"with {room:,} bytes: status {status}: {said[-800:]}")
        again(f"size={4 * size}")
        status, said = study.run(folder / "study")
        differ = study.differing(study.results(whole), study.results(folder / "study"))
        if status or differ:
            tried.fault(f"with enough room again: status {status}, {differ}: {said[-800:]}")
        else:
            tried.outcome["with enough room again: the undisturbed results"] += 1
    return tried


def closed(whole: Path) -> Tried:
    """A study one of whose folders is read-only, and has to be made again."""
    tried = Tried("a read-only folder during `kedro run`")
    for layer in _LAYERS:
        copy = whole.with_name("closed")
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(whole, copy)
        if layer not in ("", "mlflow"):
            for path in (copy / layer).iterdir():  # it has to be written again
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        place = str(copy / layer)
        with mounted(copy / layer, "--bind", place) as again:
            again("bind,ro")
            found = study.run(copy)
        study.note(tried, layer or "data_root", whole, copy, found)
        shutil.rmtree(copy)
    return tried


def mlflow(whole: Path) -> Tried:
    """An MLflow that cannot be used in one way or another."""
    tried = Tried("MLflow away, silent, locked or damaged during `kedro run`")
    for name in ("away", "silent", "locked", "damaged", "gone"):
        copy = whole.with_name("mlflow")
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(whole, copy)
        shutil.rmtree(copy / "07_model_output")  # something has to be done, and to be recorded
        database, conf = copy / "mlflow/mlflow.db", whole.with_name("conf")
        shutil.rmtree(conf, ignore_errors=True)
        shutil.copytree(PROJECT / "conf", conf)
        held = None
        with socket.socket() as listening:
            listening.bind(("127.0.0.1", 0))
            address = f"http://127.0.0.1:{listening.getsockname()[1]}"
            if name in ("away", "silent"):
                (conf / "test/mlflow.yml").write_text(f"tracking_uri: {address}\n")
            if name == "silent":
                listening.listen()  # takes calls and never answers
            elif name == "locked":
                held = sqlite3.connect(database, isolation_level=None)
                held.execute("begin exclusive")
            elif name == "damaged":
                content = bytearray(database.read_bytes())
                content[:100] = bytes(100)
                database.write_bytes(content)
            elif name == "gone":
                shutil.rmtree(copy / "mlflow")
            found = study.run(copy, "--conf-source", str(conf))
        if held:
            held.close()
        study.note(tried, name, whole, copy, found)
        shutil.rmtree(copy)
    return tried


def main() -> int:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=6, help="sizes of the small disk")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", choices=["full", "closed", "mlflow"])
    asked = parser.parse_args()
    if os.geteuid():
        parser.error("only root may mount a small disk")
    root = study.finished(PROJECT / "build/faults/whole")
    attacks: dict[str, Callable[[], Tried]] = {
        "full": lambda: full(root, asked.steps, asked.seed),
        "closed": lambda: closed(root),
        "mlflow": lambda: mlflow(root),
    }
    found = [attack() for name, attack in attacks.items() if asked.only in (None, name)]
    return record("disks", found, asked.seed)


if __name__ == "__main__":
    sys.exit(main())
