"""The smallest whole study: run, killed, and compared with another."""

import hashlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pandas as pd
import psutil
from record import PROJECT, Tried

KEDRO_RUN = (sys.executable, "-m", "kedro", "run", "--env", "test")
SMALLEST = "methods=mae+supervised,phantom.patients=24,evaluation.bootstrap_draws=100"
# What may be begun by a dot: sums, and who holds a data_root.
_KNOWN = {".sha256", ".written-by-miram", ".run.lock", ".run.json", ".gitkeep"}
_TIMES = ("second", "time", "wait", "memory", "per_s")  # columns of a history that measure


def start(root: Path, *options: str, params: str = SMALLEST, **environment: str) -> Any:
    """Start `kedro run --env test` with a data_root, in a session of its own."""
    log = log_of(root).open("ab")
    return subprocess.Popen(
        [*KEDRO_RUN, *options, "--params", f"data_root={root},{params}"],
        cwd=PROJECT,
        env={**os.environ, "DO_NOT_TRACK": "1", **environment},
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        start_new_session=True,
    )


def log_of(root: Path) -> Path:
    """What the runs of a study say; not on its disk, which may be full."""
    folder = PROJECT / "build/faults_logs"
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{root.parent.name}_{root.name}.log"


def run(root: Path, *options: str, **given: str) -> tuple[int, str]:
    """Run it to its end; gives the exit status and what it said."""
    root.parent.mkdir(parents=True, exist_ok=True)
    log = log_of(root)
    before = log.stat().st_size if log.exists() else 0
    status = start(root, *options, **given).wait()
    return status, log.read_bytes()[before:].decode(errors="replace")


def finished(root: Path, params: str = SMALLEST) -> Path:
    """The study at a place, run where it is not finished."""
    if not (root / "08_reporting/report.html").is_file():
        status, said = run(root, params=params)
        if status:
            raise RuntimeError(f"the study itself fails: {said[-2000:]}")
    return root


def mendable(status: int, said: str) -> bool:
    """Whether a run ended by one error in words, not by a traceback or a signal."""
    return status == 1 and "Error: " in said and "Traceback" not in said


def note(tried: Tried, what: str, whole: Path, disturbed: Path, run: tuple[int, str]) -> None:
    """Note what became of a disturbed study: it says what is wrong, or finds what `whole` found."""
    status, said = run
    if mendable(status, said):
        tried.outcome["one error in words"] += 1
    elif status == 0 and not differing(metrics(whole), metrics(disturbed)):
        tried.outcome["went on, the same metrics"] += 1
    else:
        tried.fault(f"{what}: status {status}: {said[-800:]}")


def results(root: Path) -> dict[str, Any]:
    """What a study found, by the name of the file: digests, weights, features and metrics."""
    found: dict[str, Any] = {}
    for path in sorted(root.rglob("*")):
        name = str(path.relative_to(root))
        if not path.is_file() or name.startswith(("mlflow", "08_reporting/report.html")):
            continue
        name = _unversioned(Path(name))
        if path.suffix in (".safetensors", ".npy") or path.name in ("digest.json", "metrics.json"):
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
        elif path.suffix == ".parquet":
            table = pd.read_parquet(path).to_csv(index=False)
            found[name] = hashlib.sha256(table.encode()).hexdigest()
        elif path.name == "history.csv":
            table = pd.read_csv(path)
            kept = [one for one in table if not any(word in one for word in _TIMES)]
            found[name] = hashlib.sha256(table[kept].to_csv().encode()).hexdigest()
    return found


def metrics(root: Path) -> dict[str, Any]:
    """The newest metrics of each method alone, and the leaderboard."""
    found: dict[str, Any] = {"leaderboard": "none"}
    for path in sorted((root / "07_model_output").rglob("metrics.json")):
        if path.is_file():
            found[_unversioned(path.relative_to(root))] = json.loads(path.read_text())
    for path in sorted((root / "08_reporting").rglob("leaderboard.csv")):
        if path.is_file():
            found["leaderboard"] = path.read_text()
    return found


def _unversioned(path: Path) -> str:
    """A versioned dataset lies in a folder of the time at which it was written."""
    return "/".join(part for part in path.parts if not part.startswith("20"))


def differing(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    """Names of what two studies do not agree on."""
    return sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))


def left_over(root: Path) -> list[str]:
    """Temporary files that a run has left."""
    return [
        str(path.relative_to(root))
        for path in root.rglob("*")
        if (path.name.startswith(".") and path.name not in _KNOWN) or path.suffix == ".tmp"
    ]


def of_session(number: int) -> list[int]:
    """Processes of a session, the first one aside."""
    found = []
    for process in psutil.process_iter():
        try:
            alive = process.status() != psutil.STATUS_ZOMBIE
            if alive and process.pid != number and os.getsid(process.pid) == number:
                found.append(process.pid)
        except (OSError, psutil.Error):
            continue
    return found


def orphans(number: int, patience: float = 120) -> list[int]:
    """Processes that outlive the first one of their session for longer than a while."""
    end = time.monotonic() + patience
    while (found := of_session(number)) and time.monotonic() < end:
        time.sleep(0.2)
    return found
