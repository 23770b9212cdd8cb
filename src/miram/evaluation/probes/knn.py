"""Weighted nearest neighbors: an answer without training.

They use the features as they are, which masked autoencoders find the hardest test.
"""

from typing import ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import Field
from threadpoolctl import threadpool_limits

from miram.evaluation.probes.protocols import Array, Probe, ProbeScores, TrainingLesions
from miram.evaluation.statistics.inputs import one_hot


class KnnConfig(Probe):
    """How neighbors vote."""

    protocol: ClassVar[str] = "knn"

    neighbors: int = Field(20, ge=1, description="at most all training lesions")
    temperature: float = Field(0.07, gt=0, description="the lower, the more the nearest counts")

    def scores(self, train: TrainingLesions, features: npt.NDArray) -> ProbeScores:
        """Vote of the nearest training lesions, weighted by exp(cosine / temperature).

        After Wu et al., CVPR 2018. Neighbors as near as the k-th all vote, so that the order of
        the training rows does not matter. The scores are shares of the vote.
        """
        votes = one_hot(train.labels, train.classes).astype(np.float64)
        # One thread: sums, and with them ties, must not depend on the number of threads.
        with threadpool_limits(1, user_api="blas"):
            similarity = _unit(features) @ _unit(train.features).T  # (m, d) @ (d, n) -> (m, n)
        k = min(self.neighbors, len(votes))
        kth = np.partition(similarity, -k, axis=1)[:, -k, None]
        nearest = similarity.max(axis=1, keepdims=True)
        weights = np.exp((similarity - nearest) / self.temperature) * (similarity >= kth)
        scores = weights @ votes / weights.sum(axis=1, keepdims=True)  # (m, n) @ (n, K) -> (m, K)
        scores = np.clip(scores, 0.0, 1.0)
        binary = train.labels.ndim == 1 and train.classes == 2
        return ProbeScores(scores[:, 1] if binary else scores)


def _unit(features: npt.ArrayLike) -> Array:
    features = np.asarray(features, np.float64)
    norms = np.linalg.norm(features, axis=1, keepdims=True)
    return features / np.where(norms > 0, norms, 1.0)
