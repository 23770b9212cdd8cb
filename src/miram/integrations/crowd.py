"""Whether other programs use the cores that a run is about to use."""

import os
import time
from typing import NamedTuple, Self

import psutil
from joblib import cpu_count

_NEGLIGIBLE = 1.25  # times as long
_SHORTEST = 0.3  # seconds that say anything: the system counts in hundredths


class Used(NamedTuple):
    """Processor seconds so far, at a moment in seconds."""

    moment: float
    by_all: float
    by_us: float  # this process, and children that have ended

    @classmethod
    def now(cls) -> Self:
        """What the system says; what a virtual machine is denied counts as used."""
        times = psutil.cpu_times()
        idle = times.idle + getattr(times, "iowait", 0.0)
        twice = getattr(times, "guest", 0.0) + getattr(times, "guest_nice", 0.0)
        return cls(time.monotonic(), sum(times) - idle - twice, sum(os.times()[:4]))


def crowd(before: Used, now: Used) -> str:
    """What other programs mean for a run; empty without any, or after too short a look."""
    passed = now.moment - before.moment
    if passed < _SHORTEST:
        return ""
    others = (now.by_all - before.by_all - (now.by_us - before.by_us)) / passed
    return describe(others, os.cpu_count() or 1, cpu_count())


def describe(others: float, cores: int, usable: int) -> str:
    """What it means for a run on some `usable` cores that others keep so many of all busy."""
    longer = (usable + others) / cores
    if longer < _NEGLIGIBLE:
        return ""
    return (
        f"the machine is crowded: other programs keep {others:.1f} of {cores} cores busy, so work "
        f"takes about {longer:.1f} times as long"
    )
