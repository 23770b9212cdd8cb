"""A study whose process is killed again and again, and then repeated by the same command.

    python faults/kills.py --kills 30

Kills come after so and so many files, drawn from a seed, so that they fall into all pipelines. Only
the process itself is killed: those that it started must end by themselves.
"""

import argparse
import os
import random
import shutil
import signal
import sys
import time
from pathlib import Path

import study
from record import PROJECT, Tried, record


def attack(folder: Path, kills: int, seed: int, params: str = study.SMALLEST) -> Tried:
    """Kill a study so often, and let it end; compare it with one that was not interrupted."""
    tried, draw = Tried("kills (SIGKILL) of `kedro run`"), random.Random(seed)
    whole, killed = study.finished(folder / "whole", params), folder / "killed"
    shutil.rmtree(killed, ignore_errors=True)
    total = _count(whole)
    for at in sorted(draw.randrange(1, total) for _ in range(kills)):
        process = study.start(killed, params=params)
        begun = _count(killed)
        # Of what an earlier run has written already nothing new may come for a while.
        wanted = max(at, begun + draw.randrange(3))
        while _count(killed) < wanted and process.poll() is None:
            time.sleep(0.01)
        time.sleep(draw.random() * 0.2)
        if process.poll() is not None:
            tried.outcome["ended before the kill"] += 1
            if process.returncode:
                tried.fault(f"after {begun} files the same command ends with {process.returncode}")
            break
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        if alive := study.orphans(process.pid):
            tried.fault(f"after {at} files the processes {alive} live on")
        else:
            tried.outcome["killed, no process lives on"] += 1
        print(at, "of", total, dict(tried.outcome), flush=True)
    status, said = study.run(killed, params=params)
    if status:
        tried.fault(f"the same command ends with {status}: {said[-1000:]}")
    for name in study.differing(study.results(whole), study.results(killed)):
        tried.fault(f"{name} is another")
    for name in study.left_over(killed):
        tried.fault(f"{name} is left")
    if not tried.faults:
        tried.outcome["killed, no process lives on; digests, weights and metrics equal"] = (
            tried.outcome.pop("killed, no process lives on", 0)
        )
    return tried


def _count(root: Path) -> int:
    """Files of a study, without MLflow's."""
    found = 0
    for place, folders, names in os.walk(root):
        if "mlflow" in folders:
            folders.remove("mlflow")
        found += len(names) * (place != str(root))
    return found


def main() -> int:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    return record("kills", [attack(PROJECT / "build/faults", asked.kills, asked.seed)], asked.seed)


if __name__ == "__main__":
    sys.exit(main())
