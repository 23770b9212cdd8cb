"""The largest portions of a step that memory holds, found by trying few sizes.

At each moment of a step its bytes grow along a line with the samples, so that the peak is the
greatest of many lines: one through two of its points is never below it in between. Two sizes tell
the line, a step of the size chosen proves it.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from miram.memory import is_out_of_memory

# Bytes at the peak of a step by its samples and whether activations are recomputed; it may raise
# what `is_out_of_memory` knows.
Peak = Callable[[int, bool], int]

# Images that keep a device busy. Below, it pays to recompute activations, a third more work.
DECENT_BATCH = 16
_PAIRS = ((4, 8), (2, 4), (1, 2))  # sizes that tell the line, the first pair that fits


@dataclass(frozen=True)
class Line:
    """Bytes of a step by its samples.

    Attributes:
        fixed: What is there whatever the samples.
        per_image: What each sample adds.
    """

    fixed: float
    per_image: float

    @classmethod
    def through(cls, low: tuple[int, int], high: tuple[int, int]) -> "Line":
        """The line through two points (samples, bytes)."""
        slope = max(1.0, (high[1] - low[1]) / (high[0] - low[0]))
        return cls(low[1] - slope * low[0], slope)

    def most(self, limit: float) -> int:
        """The most samples within a limit."""
        return max(0, math.floor((limit - self.fixed) / self.per_image))


@dataclass(frozen=True)
class Choice:
    """The largest portion that fits.

    Attributes:
        batch: Samples that go through the model at once; 0 if not even one fits.
        recompute: Whether activations are computed again in the backward pass.
        line: Bytes of a step; None if no two sizes could be tried.
        reason: Why so, in a sentence.
    """

    batch: int
    recompute: bool
    line: Line | None
    reason: str = ""


def choose(
    peak: Peak, usable: int, target: int, *, whole: bool = False, always_recompute: bool = False
) -> Choice:
    """Choose the portions of a step.

    Activations are kept where the samples of a step, or at least `DECENT_BATCH` of them, fit at
    once. Otherwise they are recomputed, if more samples fit then.

    Args:
        peak: Bytes at the peak of a step.
        usable: Bytes that it may take.
        target: Samples of a step.
        whole: Whether they are of use only all at once.
        always_recompute: Whether to recompute in any case.
    """
    kept = Choice(0, False, None)
    if not always_recompute:
        kept = largest_portion(peak, usable, target, recompute=False, whole=whole)
        if kept.batch >= (target if whole else min(target, DECENT_BATCH)):
            return replace(kept, reason=_told(kept, target))
    again = largest_portion(peak, usable, target, recompute=True, whole=whole)
    if always_recompute:
        return replace(again, reason=f"{_told(again, target)}, as asked")
    if kept.batch and kept.batch >= again.batch:
        return replace(kept, reason=_told(kept, target))
    return replace(again, reason=f"{_told(again, target)}; kept, {kept.batch} would")


def _told(choice: Choice, target: int) -> str:
    how = "recomputed" if choice.recompute else "kept"
    which = f"all {target}" if choice.batch >= target else f"{choice.batch} of the {target}"
    return f"{which} samples of a step fit with activations {how}"


def largest_portion(
    peak: Peak, usable: int, target: int, *, recompute: bool, whole: bool = False
) -> Choice:
    """Find the largest portion that fits, and prove it by a step of that size.

    Args:
        peak: Bytes at the peak of a step.
        usable: Bytes that it may take.
        target: Samples of a step; they are dealt out to portions of nearly equal size.
        recompute: Whether activations are computed again in the backward pass.
        whole: Whether samples are of use only all at once, and two of them at the least.
    """
    points = _first_points(peak, recompute, least=2 if whole else 1)
    if not points:
        return Choice(0, recompute, None)
    line = Line.through(*points)
    most = min(target, line.most(usable))
    while most > 0:
        batch = most if whole else math.ceil(target / math.ceil(target / most))
        size = _peak_or_none(peak, batch, recompute)
        if size is not None and batch > points[0][0]:
            line = Line.through(points[0], (batch, size))
        if size is not None and size <= usable:
            return Choice(batch, recompute, line)
        most = batch // 2 if size is None else min(batch - 1, line.most(usable))
    return Choice(0, recompute, line)


def _first_points(peak: Peak, recompute: bool, least: int) -> list[tuple[int, int]]:
    for pair in _PAIRS:
        if pair[0] >= least:
            sizes = [(batch, _peak_or_none(peak, batch, recompute)) for batch in pair]
            points = [(batch, size) for batch, size in sizes if size is not None]
            if len(points) == len(pair):
                return points
    return []


def _peak_or_none(peak: Peak, batch: int, recompute: bool) -> int | None:
    try:
        return peak(batch, recompute)
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        return None
