"""Random numbers and order that follow from (seed, epoch, sample) alone.

Whatever the batch size, the number of workers or an interruption: sample i of epoch e gets
the same augmentation and the same mask. This is what makes a resumed run equal to an
uninterrupted one.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Step:
    """One step of a training; number and epoch are from 0."""

    number: int
    epoch: int
    indices: NDArray[np.int64]  # (B,) the samples it takes, over all devices


def steps_from(start: int, seed: int, samples: int, batch: int, epochs: int) -> Iterator[Step]:
    """The steps of a training from number `start` on; a last incomplete batch is left out."""
    per_epoch = samples // batch
    for epoch in range(start // per_epoch, epochs):
        order = epoch_order(seed, epoch, samples)
        for number in range(max(start, epoch * per_epoch), (epoch + 1) * per_epoch):
            first = (number - epoch * per_epoch) * batch
            yield Step(number, epoch, order[first : first + batch])


def step_seed(seed: int, step: int, rank: int = 0) -> int:
    """Seed of whatever a model draws by itself in a step, such as dropout."""
    return int(np.random.SeedSequence((seed, step, rank)).generate_state(1)[0])


def epoch_order(seed: int, epoch: int, samples: int) -> NDArray[np.int64]:
    """The order in which an epoch visits n samples: (n,), a permutation of 0 to n - 1."""
    return np.random.default_rng([seed, epoch]).permutation(samples)


def sample_uniforms(
    seed: int, epoch: int, samples: NDArray[np.int64], count: int
) -> NDArray[np.float32]:
    """Uniform numbers of each sample, from a counter-based generator (Philox, Salmon 2011).

    Of the (B,) samples each gets `count` numbers: (B, count) in [0, 1).
    """
    uniforms = np.empty((len(samples), count), np.float32)
    for row, sample in zip(uniforms, samples, strict=True):
        bits = np.random.Philox(key=[seed, epoch], counter=[0, 0, 0, sample])
        np.random.Generator(bits).random(out=row, dtype=np.float32)
    return uniforms
