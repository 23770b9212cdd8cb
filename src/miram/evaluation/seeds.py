"""Several trainings of one method: seeds and patients are separate sources of variance.

A figure of a method that was trained with several seeds is the mean over them. Its interval is
that of the mean under other patients, all seeds judged on the same draw; what depends on the seed
is the standard deviation beside it. Nothing here mixes the two.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from miram.errors import MiramError

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class SeedScores:
    """Scores of the same lesions by several trainings.

    Attributes:
        each: Of every seed, (n,) or (n, K), all of one shape.
        folds: (n,) which classifier of a cross-validation scored each lesion, whose scores are not
            comparable with those of another; None for a single one.
    """

    each: tuple[Array, ...]
    folds: npt.NDArray | None = None

    def __post_init__(self) -> None:
        """Check that all seeds scored the same lesions."""
        if len({one.shape for one in self.each}) != 1:
            shapes = ", ".join(str(one.shape) for one in self.each) or "none"
            raise MiramError(f"all seeds must score the same lesions, got scores of {shapes}")

    def of(self, rows: Any) -> "SeedScores":
        """The scores of some lesions, as an index or a mask picks them."""
        folds = None if self.folds is None else self.folds[rows]
        return SeedScores(tuple(one[rows] for one in self.each), folds)

    def shaped(self, shape: Callable[[Array], Array]) -> "SeedScores":
        """The scores of every seed in another shape."""
        return SeedScores(tuple(shape(one) for one in self.each), self.folds)


Scores = npt.ArrayLike | SeedScores


def by_seed(scores: Scores) -> SeedScores:
    """Scores by seed; plain ones are those of a single training."""
    if isinstance(scores, SeedScores):
        return scores
    return SeedScores((np.asarray(scores, np.float64),))


def columns_of(scores: SeedScores) -> Array:
    """The scores of all seeds side by side, (n, S) or (n, S * K)."""
    return np.column_stack([one.reshape(len(one), -1) for one in scores.each])


def mean_statistic(parts: Sequence[Callable[[Array], Array]]) -> Callable[[Array], Array]:
    """The mean of a statistic over seeds; undefined where it is undefined for one of them.

    Args:
        parts: Of every seed a function of the weights.
    """
    return lambda weights: np.mean([part(weights) for part in parts], axis=0)


def seed_deviation(values: Sequence[float]) -> float | None:
    """Standard deviation over seeds, None for a single one or where one is undefined."""
    if len(values) < 2 or not np.isfinite(values).all():
        return None
    return float(np.std(values, ddof=1))
