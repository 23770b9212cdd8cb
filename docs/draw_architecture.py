"""Draw the packages of miram, floor by floor, and the imports between them.

    python docs/draw_architecture.py    # writes docs/architecture.svg

Floors are those of the import contract "Data flows one way" in pyproject.toml; arrows are counted
from the code.
"""

import tomllib
from pathlib import Path

import grimp
import matplotlib

matplotlib.use("svg")
from matplotlib import pyplot as plt
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

DOCS = Path(__file__).parent
WIDTH, HEIGHT, GAP = 12.0, 0.95, 0.75


def floors() -> list[list[str]]:
    """Packages by floor, the top one first."""
    project = tomllib.loads((DOCS.parent / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = project["tool"]["importlinter"]["contracts"]
    layers = next(one["layers"] for one in contracts if one["type"] == "layers")
    named = [[name.strip().removeprefix("miram.") for name in row.split("|")] for row in layers]
    small = [name for row in named[-2:] for name in row]  # single files that all others use
    return [*named[:-2], [" · ".join(small)]]


def parts_of(package: str) -> str:
    """Sub-packages of a package in one line."""
    folder = DOCS.parent / "src/miram" / package
    names = sorted(path.parent.name for path in folder.glob("*/__init__.py"))
    return "  ".join(names)


def imports_between(packages: list[str]) -> dict[tuple[str, str], int]:
    """Number of imports from one package to another."""
    graph = grimp.build_graph("miram", cache_dir=None)
    found: dict[tuple[str, str], int] = {}
    for module in graph.modules:
        for used in graph.find_modules_directly_imported_by(module):
            pair = tuple(name.split(".")[1] if "." in name else "" for name in (module, used))
            if pair[0] != pair[1] and set(pair) <= set(packages):
                found[pair] = found.get(pair, 0) + 1
    return found


def draw(path: Path) -> None:
    """Write the picture."""
    rows = floors()
    figure, axes = plt.subplots(figsize=(10, 8))
    places: dict[str, tuple[float, float, float]] = {}  # left, bottom, width
    for depth, row in enumerate(rows):
        width = (WIDTH - GAP * (len(row) - 1)) / len(row)
        for column, name in enumerate(row):
            left, bottom = column * (width + GAP), -depth * (HEIGHT + GAP)
            places[name] = (left, bottom, width)
            box = FancyBboxPatch(
                (left, bottom), width, HEIGHT, boxstyle="round,pad=0.04", fc="#eef3f8", ec="#34506b"
            )
            axes.add_patch(box)
            parts = parts_of(name) if len(name.split()) == 1 else ""
            middle = left + width / 2
            axes.text(
                middle, bottom + HEIGHT * (0.68 if parts else 0.5), name, ha="center", va="center",
                fontsize=12 if parts or len(name) < 20 else 10, weight="bold",
            )  # fmt: skip
            lines = _wrapped(parts, max(18, int(width * 9)))
            axes.text(middle, bottom + HEIGHT * 0.28, lines, ha="center", va="center", fontsize=8)
    for (user, used), count in imports_between(list(places)).items():
        arrow = _arrow(places[user], places[used], count)
        axes.add_patch(arrow)
    axes.set_xlim(-0.3, WIDTH + 0.3)
    axes.set_ylim(-(len(rows) - 1) * (HEIGHT + GAP) - 0.3, HEIGHT + 0.3)
    axes.axis("off")
    figure.savefig(path, bbox_inches="tight", metadata={"Date": None})
    plt.close(figure)


def _wrapped(text: str, length: int) -> str:
    lines, line = [], ""
    for word in text.split():
        if len(line) + len(word) > length:
            lines.append(line)
            line = ""
        line = f"{line}  {word}".strip()
    return "\n".join([*lines, line])


def _arrow(
    start: tuple[float, float, float], end: tuple[float, float, float], count: int
) -> FancyArrowPatch:
    begin = (start[0] + start[2] / 2, start[1])
    stop = (end[0] + end[2] / 2 + (0.15 if start[0] > end[0] else -0.15), end[1] + HEIGHT)
    neighbors = begin[1] - stop[1] < 1.5 * GAP
    return FancyArrowPatch(
        begin,
        stop,
        arrowstyle="-|>",
        mutation_scale=9,
        lw=0.6 + 0.03 * min(count, 60),
        color="#34506b",
        alpha=0.9 if neighbors else 0.25,
        zorder=3 if neighbors else 0,
        connectionstyle="arc3,rad=0" if neighbors else "arc3,rad=0.25",
    )


if __name__ == "__main__":
    draw(DOCS / "architecture.svg")
