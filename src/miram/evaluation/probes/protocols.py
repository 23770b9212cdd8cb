"""What a protocol is: how frozen features of labeled lesions are learned from, and others scored.

`linear` is the main one: the leaderboard, the comparisons and the subgroups are its. The others
are beside it in `metrics.json`, for comparison with what others publish. A protocol is a file with
a `Probe`, and a field of `AssessmentConfig` that holds its settings.
"""

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from miram.configuration import Config

Array = npt.NDArray[np.float64]
MAIN = "linear"


@dataclass(frozen=True)
class TrainingLesions:
    """What a probe learns from, in an order that does not depend on chance.

    Attributes:
        features: (n, d).
        labels: (n,) classes from 0, or (n, K) of 0 and 1.
        patients: (n,).
        classes: Number of classes.
    """

    features: npt.NDArray
    labels: npt.NDArray[np.int64]
    patients: npt.NDArray
    classes: int


@dataclass(frozen=True)
class ProbeScores:
    """What a probe says of other lesions.

    Attributes:
        scores: (m,) probabilities of class 1 for two classes in (n,) labels, otherwise (m, K).
        temperature: What the logits are to be divided by for calibrated probabilities, found on
            the training lesions; 1 changes nothing.
        warning: What a reader should know of how the probe was fitted; empty for nothing.
    """

    scores: Array
    temperature: float = 1.0
    warning: str = ""


class Probe(Config):
    """The settings of a protocol, by which it learns and scores.

    Attributes:
        protocol: Its name in `evaluation.protocols` and in tables.
    """

    protocol: ClassVar[str]

    @abstractmethod
    def scores(self, train: TrainingLesions, features: npt.NDArray) -> ProbeScores:
        """Learn from the training lesions and score (m, d) others.

        The result depends on no state of chance outside, on no number of threads, and the score
        of a lesion not on those beside it.

        Raises:
            MiramError: The training lesions do not suffice, or training fails.
        """
