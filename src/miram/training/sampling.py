"""Random numbers and order that follow from (seed, epoch, sample) alone.

Whatever the batch size, the number of workers or an interruption: sample i of epoch e gets
the same augmentation and the same mask. This is what makes a resumed run equal to an
uninterrupted one.
"""

import numpy as np
from numpy.typing import NDArray


def epoch_order(seed: int, epoch: int, samples: int) -> NDArray[np.int64]:
    """The order in which an epoch visits the samples.

    Args:
        seed: Of the run.
        epoch: Number of the epoch, from 0.
        samples: n.

    Returns:
        (n,) a permutation of 0 to n - 1.
    """
    return np.random.default_rng([seed, epoch]).permutation(samples)


def sample_uniforms(
    seed: int, epoch: int, samples: NDArray[np.int64], count: int
) -> NDArray[np.float32]:
    """Uniform numbers of each sample, from a counter-based generator (Philox, Salmon 2011).

    Args:
        seed: Of the run.
        epoch: Number of the epoch.
        samples: (B,) which samples.
        count: m, how many numbers for each.

    Returns:
        (B, m) in [0, 1).
    """
    rows = (
        np.random.Generator(np.random.Philox(key=[seed, epoch], counter=[0, 0, 0, sample]))
        for sample in samples
    )
    return np.stack([row.random(count, dtype=np.float32) for row in rows])
