"""What a statistic reads: labels and scores of one of three kinds of task.

| kind | labels | scores |
|---|---|---|
| `binary` | (n,) of 0 and 1 | (n,) probability of class 1 |
| `single`, one of K classes | (n,) of 0 … K-1 | (n, K) probabilities |
| `multi`, any of K labels | (n, K) of 0 and 1 | (n, K) probabilities |

A method may be trained with several seeds and cross-validated several times. Its metric is then
the mean over them, and the interval is that of the mean under other patients, with all seeds and
repeats evaluated on the same draw; what depends on the seed and what depends on the folds are two
standard deviations beside it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from miram.evaluation.statistics import StatisticsError

Array = npt.NDArray[np.float64]
Kind = Literal["binary", "single", "multi"]
LEVEL = 0.95
"""Of all intervals."""


def kind_of(labels: npt.NDArray[Any], scores: npt.NDArray[Any]) -> Kind:
    """The kind of a task, from the shapes of its labels and scores.

    Raises:
        StatisticsError: The shapes belong to no kind, or there is no sample.
    """
    if len(labels) == len(scores) > 0:
        if labels.ndim == 1 and scores.ndim == 1:
            return "binary"
        if labels.ndim == 1 and scores.ndim == 2:
            return "single"
        if labels.ndim == 2 and labels.shape == scores.shape:
            return "multi"
    raise StatisticsError(
        f"labels of shape {labels.shape} and scores of shape {scores.shape} do not belong together:"
        " give (n,) and (n,) for two classes, (n,) and (n, K) for one of K classes, (n, K) and"
        " (n, K) for several labels at once, with n > 0"
    )


def one_hot(labels: npt.NDArray[Any], classes: int) -> npt.NDArray[np.bool_]:
    """(n,) classes or (n, K) of 0 and 1 as (n, K) bool."""
    return labels.astype(bool) if labels.ndim == 2 else labels[:, None] == np.arange(classes)


def rarest_class(hot: npt.NDArray[np.bool_]) -> npt.NDArray[np.intp]:
    """(n,) strata of (n, K) labels: the rarest one of each sample, K where it has none.

    A sample with several labels counts for its rarest one, the hardest to spread evenly.
    """
    rarity = np.where(hot, hot.sum(axis=0), np.inf)
    return np.where(hot.any(axis=1), rarity.argmin(axis=1), hot.shape[1])


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
            raise StatisticsError(f"all seeds must score the same lesions, got scores of {shapes}")
        if len(self.each) % self.repeats:
            raise StatisticsError(
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

    def stacked(self) -> Array:
        """The scores of all S seeds and repeats next to each other, (n, S) or (n, S * K)."""
        return np.column_stack([one.reshape(len(one), -1) for one in self.each])

    def spread(self, values: Sequence[float]) -> dict[str, Any]:
        """How much of a metric depends on the seed and how much on the folds.

        Args:
            values: The metric of every seed and repeat alone, as in `each`.

        Returns:
            Of several seeds `by_seed`, the mean over repeats of each, and `seed_deviation`, their
            standard deviation; of several repeats `by_repeat` and `repeat_deviation` likewise. A
            deviation is None where a value is undefined. Repeats share their lesions, so theirs
            is no standard error.
        """
        table = np.asarray(values, np.float64).reshape(self.seeds, self.repeats)
        found: dict[str, Any] = {}
        for name, means in (("seed", table.mean(axis=1)), ("repeat", table.mean(axis=0))):
            if len(means) > 1:
                defined = np.isfinite(means).all()
                found[f"by_{name}"] = means.tolist()
                found[f"{name}_deviation"] = float(np.std(means, ddof=1)) if defined else None
        return found


Scores = npt.ArrayLike | SeedScores


def by_seed(scores: Scores) -> SeedScores:
    """Scores by seed and repeat; plain ones are those of a single training, evaluated once."""
    if isinstance(scores, SeedScores):
        return scores
    return SeedScores((np.asarray(scores, np.float64),))


def same_folds(first: SeedScores, second: SeedScores) -> bool:
    """Whether two methods were evaluated in the same folds, in every repeat."""
    ours, theirs = ([folds for _, folds in one.parts()[: one.repeats]] for one in (first, second))
    return np.array_equal(ours, theirs)
