"""What a run of faults found, kept as docs/trust/<name>.json."""

import json
import shlex
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parents[1]
FOLDER = PROJECT / "docs/trust"


@dataclass
class Tried:
    """One kind of fault: how often it was tried, and what became of it.

    Attributes:
        what: The fault, in words.
        outcome: How often each outcome was seen.
        faults: What must not happen and did, one text each; empty where the software holds.
    """

    what: str
    outcome: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)

    def fault(self, text: str) -> None:
        """Note what must not happen."""
        self.outcome["FAULT"] += 1
        self.faults.append(text)
        print(f"FAULT {self.what}: {text}", file=sys.stderr, flush=True)

    def row(self, command: str) -> dict[str, Any]:
        """A row of the page."""
        counts = dict(self.outcome.most_common())
        return {
            "what": self.what,
            "tried": self.outcome.total(),
            "outcome": ", ".join(f"{count:,} {name}" for name, count in counts.items()),
            "command": command,
        }


def record(name: str, tried: Sequence[Tried], seed: int, **more: Any) -> int:
    """Write what was found; gives the exit status, 1 where there was a fault."""
    command = f"python faults/{Path(sys.argv[0]).name} {shlex.join(sys.argv[1:])}".strip()
    found: Mapping[str, Any] = {
        "command": command,
        "seed": seed,
        "commit": _commit(),
        "date": date.today().isoformat(),
        **more,
        "rows": [one.row(command) for one in tried],
    }
    FOLDER.mkdir(parents=True, exist_ok=True)
    (FOLDER / f"{name}.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    for one in tried:
        print(one.row(command))
    return int(any(one.faults for one in tried))


def _commit() -> str:
    command = ["git", "rev-parse", "--short=12", "HEAD"]
    run = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True)
    return run.stdout.strip()
