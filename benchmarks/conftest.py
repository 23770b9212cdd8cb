"""What all benchmarks share: ratios of pieces of work that take turns."""

import statistics
from collections.abc import Callable

import pytest
from clock import processor_seconds


@pytest.fixture
def take_turns(benchmark):
    """Let two or more pieces of work take turns, and give the median seconds of each by name."""

    def measure(work: dict[str, Callable[[], object]], rounds: int = 3) -> dict[str, float]:
        found: dict[str, list[float]] = {name: [] for name in work}

        def once() -> None:
            for turn in range(rounds + 1):
                for name, run in work.items():
                    started = processor_seconds()
                    run()
                    if turn:  # the first turn fills caches
                        found[name].append(processor_seconds() - started)

        benchmark.pedantic(once, rounds=1)
        return {name: statistics.median(seconds) for name, seconds in found.items()}

    return measure
