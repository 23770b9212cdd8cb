"""Change the formulas of the statistics and of the crops, and see which changes no test notices.

make mutants

About 2,200 changes, one at a time: `>` for `>=`, `/` for `*`, another constant, one argument less.
An hour on two cores. `[tool.mutmut]` in pyproject.toml names the modules and their tests;
`mutmut results` and `mutmut show NAME` give each change, docs/decisions/026 sorts those that are
left.
"""

import json
import os
import subprocess
import sys
from collections import Counter

from record import PROJECT, Tried, record

_CHANGED = PROJECT / "mutants/src/miram"
_MODULES = {
    "formulas of evaluation/statistics, changed": "evaluation/statistics",
    "geometry of crops, changed": "mammography/crops",
}
_WORDS = {
    "killed": "noticed by a test",
    "timeout": "noticed, as a test did not end",
    "survived": "not noticed",
    "no tests": "not reached",
}


def main() -> int:
    """Run it."""
    from mutmut.stats import status_by_exit_code

    command = [sys.executable, "-m", "mutmut", "run", "--max-children", str(os.cpu_count())]
    if subprocess.run(command, cwd=PROJECT).returncode:
        return 1
    tried = []
    for what, folder in _MODULES.items():
        counts: Counter[str] = Counter()
        for path in (_CHANGED / folder).glob("*.py.meta"):
            codes = json.loads(path.read_text(encoding="utf-8"))["exit_code_by_key"].values()
            names = [status_by_exit_code[code] for code in codes]
            counts.update(_WORDS.get(name, name) for name in names)
        tried.append(Tried(what, counts))
    return record("mutants", tried, 0)


if __name__ == "__main__":
    sys.exit(main())
