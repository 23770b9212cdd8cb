"""Write the tables of docs/results.md: the default study at several seeds of the phantom.

    python docs/results/seeds.py docs/results.md data0 data1 data2

What stands between the two marks of the page is renewed. The first task is the main one.
Differences are paired, their p corrected over all methods compared with the same reference.
"""

import sys
from pathlib import Path

from write import compared, read_metrics, renew, table

from miram.commands.results.compare import Compared
from miram.models.methods import METHODS

PAIRS = {"random": METHODS, "mae": ("miram_softmax", "miram_nystrom"), "hog": ("mae",)}


def main(page: Path, roots: list[Path]) -> None:
    """Renew the tables."""
    studies = [read_metrics(root) for root in roots]
    names = list(studies[0])
    task = next(iter(studies[0]["random"]["tasks"]))
    entries = [{name: one[name]["tasks"][task] for name in names} for one in studies]
    heads = [
        f"seed {seed}: {one['random']['lesions']} lesions of {one['random']['patients']} patients"
        for seed, one in enumerate(entries)
    ]
    metric = compared(roots[0], names, task, "random").metric
    areas = [(name, *(interval(one[name]["metrics"][metric]) for one in entries)) for name in names]
    found = {
        reference: [compared(root, names, task, reference) for root in roots] for reference in PAIRS
    }
    differences = [
        (f"{name} - {reference}", *(difference(one, name) for one in found[reference]))
        for reference, methods in PAIRS.items()
        for name in methods
        if name in names and name != reference
    ]
    short = (head.partition(":")[0] for head in heads)
    parts = [table(("features", *heads), areas), table((f"{metric}, paired", *short), differences)]
    renew(page, "\n\n".join(parts))


def interval(found: dict) -> str:
    """An estimate with its interval."""
    return f"{found['estimate']:.3f} ({found['lower']:.3f} to {found['upper']:.3f})"


def difference(found: Compared, name: str) -> str:
    """A paired difference with its interval and p, bold below 0.05."""
    [row] = [row for row in found.comparisons if row.method == name]
    p = "<0.001" if row.p_holm < 0.001 else f"{row.p_holm:.3g}"
    bold = "**" if row.p_holm < 0.05 else ""
    return f"{bold}{row.difference:.3f}{bold} ({row.lower:.3f} to {row.upper:.3f}), {p}"


if __name__ == "__main__":
    main(Path(sys.argv[1]), [Path(one) for one in sys.argv[2:]])
