"""A forest plot: estimates with their intervals, one below the other, beside their numbers.

It is a table with a drawing in each row, made by the macro `forest`: readable without JavaScript,
by a screen reader and on paper.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from miram.evaluation.statistics.comparison import Comparison
from miram.models.methods import BASELINES
from miram.reporting.facts.findings import Standing, TaskFinding


@dataclass(frozen=True)
class ForestRow:
    """A method in a forest plot.

    Attributes:
        standing: Its metric.
        name: As it is written; says how the encoder was used where that is not the probe.
        note: Of how many it is the highest, where it stands for several.
        over_reference: Its paired difference from the reference, where there is one.
    """

    standing: Standing
    name: str
    note: str = ""
    over_reference: Comparison | None = None

    @property
    def drawn(self) -> bool:
        """Whether estimate and interval are defined."""
        one = self.standing
        return bool(np.isfinite([one.estimate, one.lower, one.upper]).all())

    @property
    def hollow(self) -> bool:
        """Whether it is no encoder."""
        return self.standing.method in BASELINES


@dataclass(frozen=True)
class Forest:
    """The methods of a forest plot, the highest metric first, and the values named on its axis."""

    finding: TaskFinding
    rows: tuple[ForestRow, ...]
    ticks: tuple[float, ...]

    def place(self, value: float) -> str:
        """Where a value lies on the axis, as a share of its width."""
        low, high = self.ticks[0], self.ticks[-1]
        return f"{100 * (value - low) / (high - low):.2f}%"


def forest_of(finding: TaskFinding, rows: Sequence[ForestRow], compared: int) -> Forest:
    """Order the rows of a forest plot, mark the highest, and choose an axis that holds all.

    Args:
        finding: The task.
        rows: The methods; metrics between 0 and 1.
        compared: Among how many the highest is the highest.
    """
    first, *rest = sorted(rows, key=lambda row: -np.nan_to_num(row.standing.estimate, nan=-1))
    note = f"highest of {compared}" if compared > 1 else ""
    ends = [end for row in rows if row.drawn for end in (row.standing.lower, row.standing.upper)]
    ends += [0.5, 0.6] if finding.chance is None else [finding.chance, finding.chance + 0.1]
    # In tenths; a wide axis names every second one.
    low, high = int(np.floor(10 * min(ends) + 1e-9)), int(np.ceil(10 * max(ends) - 1e-9))
    step = 1 if high - low <= 4 else 2
    if (high - low) % step:
        low, high = (low, high + 1) if high < 10 else (low - 1, high)
    ticks = tuple(place / 10 for place in range(low, high + 1, step))
    return Forest(finding, (replace(first, note=note), *rest), ticks)


def main_forest(finding: TaskFinding) -> Forest:
    """The methods of a study, and of the hand-crafted baselines the best."""
    rows = [ForestRow(one, one.method) for one in finding.standings]
    rows += [
        ForestRow(one, one.method, f"highest of {len(finding.baselines)} hand-crafted")
        for one in finding.baselines[:1]
    ]
    return forest_of(finding, rows, len(finding.standings) + len(finding.baselines))
