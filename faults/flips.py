"""One flipped byte in every file of a finished study.

    python faults/flips.py --places 20

A flip must be detected by `miram verify`, which compares the same sums as every later step does, or
be harmless. Whether it is harmless is tried: the study is repeated with the flips that are not
detected, and gives the same metrics, or says what is wrong.
"""

import argparse
import random
import shutil
import sys
from pathlib import Path

import study
from record import PROJECT, Tried, record

from miram.commands.data.verify import find_problems
from miram.errors import MiramError

# Pages for people, records of runs, and what says no more than that something need not be made.
_FOR_PEOPLE = (".html", ".md", ".svg", ".png", ".log", ".lock")


def kinds(root: Path) -> dict[str, list[Path]]:
    """The files of a study by the ending of their names; MLflow's own are left out."""
    found: dict[str, list[Path]] = {}
    for path in sorted(root.rglob("*")):
        if path.is_file() and "mlflow" not in path.relative_to(root).parts and path.stat().st_size:
            found.setdefault(path.suffix or path.name, []).append(path)
    return found


def attack(root: Path, places: int, seed: int) -> tuple[list[Tried], dict[Path, int]]:
    """Flip so many bytes of each kind of file, one at a time; the study is as before afterwards.

    Returns:
        What became of them, by kind, and one byte of each file in which a flip was not detected.
    """
    draw, tried, silent = random.Random(seed), [], {}
    for kind, paths in kinds(root).items():
        found = Tried(f"one flipped byte in {kind} of a study")
        for _ in range(places):
            path = draw.choice(paths)
            content = path.read_bytes()
            at = draw.randrange(len(content))
            flip(path, at, 1 << draw.randrange(8))
            try:
                detected = _is_detected(root)
            except Exception as error:
                found.fault(f"{path.name}, byte {at}: {type(error).__name__}: {error}")
            else:
                if detected:
                    found.outcome["detected"] += 1
                elif kind in _FOR_PEOPLE:
                    found.outcome["a page or record that nothing reads"] += 1
                else:
                    found.outcome["not detected, the study is repeated with it"] += 1
                    silent[path] = at
            path.write_bytes(content)
        tried.append(found)
    return tried, silent


def _is_detected(root: Path) -> bool:
    try:
        return bool(find_problems(root))
    except MiramError:
        return True


def flip(path: Path, at: int, bits: int = 1) -> None:
    """Change one byte of a file, which keeps its name."""
    content = bytearray(path.read_bytes())
    content[at] ^= bits
    path.write_bytes(content)


def repeat(root: Path, silent: dict[Path, int], params: str = study.SMALLEST) -> Tried:
    """Repeat the study with one flip at a time: the metrics are the same, or the run says why."""
    tried = Tried("a study repeated with a flip that was not detected")
    for path, at in silent.items():
        copy = root.with_name("flipped")
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(root, copy, ignore=shutil.ignore_patterns("mlflow"))
        flip(copy / path.relative_to(root), at)
        found = study.run(copy, params=params)
        study.note(tried, f"{path.name}, byte {at}", root, copy, found)
        shutil.rmtree(copy)
    return tried


def main() -> int:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--places", type=int, default=20, help="flips in each kind of file")
    parser.add_argument("--repeats", type=int, default=8, help="studies repeated with a flip")
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    root = study.finished(PROJECT / "build/faults/whole")
    tried, silent = attack(root, asked.places, asked.seed)
    some = dict(list(silent.items())[: asked.repeats])
    return record("flips", [*tried, repeat(root, some)], asked.seed)


if __name__ == "__main__":
    sys.exit(main())
