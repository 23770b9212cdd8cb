"""Several trainings of one method, several cross-validations of each: variances kept apart.

A metric of a method that was trained with several seeds, or cross-validated several times with
patients dealt anew into folds, is the mean over them. Its interval is that of the mean under other
patients, all seeds and repeats judged on the same draw; what depends on the seed and what depends
on the folds are two standard deviations beside it. Nothing here mixes the three.
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
    """Scores of the same lesions by several trainings, by each in one or more cross-validations.

    Attributes:
        each: Of every seed and repeat, (n,) or (n, K), all of one shape; the repeats of a seed
            follow one another.
        folds: Which classifier of a cross-validation scored each lesion, whose scores are not
            comparable with those of another: (n,) the same for each, or one row for each; None for
            a single classifier.
        repeats: How many cross-validations there are of every seed.
    """

    each: tuple[Array, ...]
    folds: npt.NDArray | None = None
    repeats: int = 1

    def __post_init__(self) -> None:
        """Check that all seeds scored the same lesions, equally often."""
        if len({one.shape for one in self.each}) != 1:
            shapes = ", ".join(str(one.shape) for one in self.each) or "none"
            raise MiramError(f"all seeds must score the same lesions, got scores of {shapes}")
        if len(self.each) % self.repeats:
            raise MiramError(
                f"all seeds must be cross-validated equally often, got {len(self.each)} tables of "
                f"scores for {self.repeats} repeats"
            )

    @property
    def seeds(self) -> int:
        """Number of trainings."""
        return len(self.each) // self.repeats

    def parts(self) -> list[tuple[Array, npt.NDArray]]:
        """The scores of every seed and repeat, and the (n,) folds that they come from."""
        lesions = len(self.each[0])
        given = np.zeros(lesions) if self.folds is None else self.folds
        return list(zip(self.each, np.broadcast_to(given, (len(self.each), lesions)), strict=True))

    def of(self, rows: Any) -> "SeedScores":
        """The scores of some lesions, as an index or a mask picks them."""
        folds = None if self.folds is None else self.folds[..., rows]
        return SeedScores(tuple(one[rows] for one in self.each), folds, self.repeats)

    def shaped(self, shape: Callable[[Array], Array]) -> "SeedScores":
        """The scores of every seed in another shape."""
        return SeedScores(tuple(shape(one) for one in self.each), self.folds, self.repeats)

    def spread(self, values: Sequence[float]) -> dict[str, Any]:
        """What a metric owes to the seed and what to the folds.

        Args:
            values: The metric of every seed and repeat alone, as in `each`.

        Returns:
            Of several seeds `by_seed`, the mean over repeats of each, and `seed_deviation`, their
            standard deviation; of several repeats `by_repeat` and `repeat_deviation` likewise. A
            deviation is None where a value is undefined. Repeats share their lesions, so theirs
            is no standard error.
        """
        table = np.asarray(values, np.float64).reshape(self.seeds, self.repeats)
        told: dict[str, Any] = {}
        for name, means in (("seed", table.mean(axis=1)), ("repeat", table.mean(axis=0))):
            if len(means) > 1:
                defined = np.isfinite(means).all()
                told[f"by_{name}"] = means.tolist()
                told[f"{name}_deviation"] = float(np.std(means, ddof=1)) if defined else None
        return told


Scores = npt.ArrayLike | SeedScores


def by_seed(scores: Scores) -> SeedScores:
    """Scores by seed and repeat; plain ones are those of a single training, judged once."""
    if isinstance(scores, SeedScores):
        return scores
    return SeedScores((np.asarray(scores, np.float64),))


def same_folds(first: SeedScores, second: SeedScores) -> bool:
    """Whether two methods were judged in the same folds, in every repeat of a cross-validation."""
    ours, theirs = ([folds for _, folds in one.parts()[: one.repeats]] for one in (first, second))
    return np.array_equal(ours, theirs)


def columns_of(scores: SeedScores) -> Array:
    """The scores of all S seeds and repeats side by side, (n, S) or (n, S * K)."""
    return np.column_stack([one.reshape(len(one), -1) for one in scores.each])


def mean_statistic(parts: Sequence[Callable[[Array], Array]]) -> Callable[[Array], Array]:
    """The mean of a statistic over seeds and repeats; undefined where it is for one of them.

    Args:
        parts: Of every seed and repeat a function of the weights.
    """
    return lambda weights: np.mean([part(weights) for part in parts], axis=0)
