"""Write docs/trust.md from all JSON files of docs/trust.

python faults/write.py
"""

import json
from pathlib import Path

from record import FOLDER, PROJECT

_PAGE = """\
# What was tried against it

Hospital data come with damaged files, and machines are shared, full and switched off. The runs
below damage image files, kill runs, flip bytes, fill disks, plant names and search for them.
Every number was counted by the command beside it. `make faults`, `make audit` and
`make mutants` do all of it; a short part of most is in `make test`. A row with the word FAULT is a
fault that is not mended.

The tests reach 98 % of the lines and 94 % of the branches of `src/miram`, processes that they
start included (`make coverage`, November 30, 2026). All tests pass on Python 3.11 with the oldest
allowed versions of what miram needs (4,184 passed, 12 skipped), on 3.12 with the newest (4,181, 12)
and on 3.13 with the pinned ones (4,184, 9), each in one run of November 30, 2026:
`nox --session "tests-3.12(newest)" -- -n 1`. `make matrix` runs the quick ones on all nine.
Of changed formulas of statistics and crops, those that no test notices are sorted in
[decision 026](decisions/026-changed-formulas.md).

| what | tried | outcome | command |
|---|---:|---|---|
{rows}

{runs}
"""


def page(folder: Path) -> str:
    """The page of all JSON files in a folder: a list of rows each, under the key `rows`."""
    rows, runs = [], []
    for path in sorted(folder.glob("*.json")):
        found = json.loads(path.read_text(encoding="utf-8"))
        for row in found["rows"]:
            cells = [row["what"], _number(row["tried"]), row["outcome"], f"`{row['command']}`"]
            rows.append(f"| {' | '.join(_cell(cell) for cell in cells)} |")
        about = {name: found[name] for name in ("date", "commit", "seed") if name in found}
        if about:
            words = ", ".join(f"{name} {value}" for name, value in about.items())
            runs.append(f"- `{path.stem}`: {words}")
    return _PAGE.format(rows="\n".join(rows), runs="\n".join(runs))


def _number(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)


def _cell(text: object) -> str:
    return str(text).replace("|", "\\|").replace("\n", " ")


if __name__ == "__main__":
    (PROJECT / "docs/trust.md").write_text(page(FOLDER), encoding="utf-8")
