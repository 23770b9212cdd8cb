"""Whether other programs use the cores that a run is about to use."""

import os

import psutil
from joblib import cpu_count

_LOOK = 0.25  # seconds
_NEGLIGIBLE = 1.25  # times as long


def crowd() -> str:
    """Look what other programs do while this one waits; empty where they are not in the way."""
    busy = psutil.cpu_percent(_LOOK, percpu=True)
    cores = set(range(len(busy)))
    if hasattr(os, "sched_getaffinity"):  # a batch job may have been given some of the cores
        cores = cores & os.sched_getaffinity(0) or cores
    return describe(sum(busy[core] for core in cores) / 100, len(cores), cpu_count())


def describe(others: float, cores: int, usable: int) -> str:
    """What it means that others keep so many cores busy, for a run that uses some of them."""
    longer = (usable + others) / cores
    if longer < _NEGLIGIBLE:
        return ""
    return (
        f"the machine is crowded: other programs keep {others:.1f} of {cores} cores busy, so what "
        f"runs on the CPU takes about {longer:.1f} times as long, or longer"
    )
