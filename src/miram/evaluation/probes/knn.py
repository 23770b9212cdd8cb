"""Weighted nearest neighbors: an answer without training.

They use the features as they are, which masked autoencoders find the hardest test.
"""

from typing import ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import Field
from threadpoolctl import threadpool_limits

from miram.errors import MiramError
from miram.evaluation.probes.protocols import Array, Probe, ProbeScores, TrainingLesions
from miram.evaluation.statistics.inputs import one_hot


class KnnConfig(Probe):
    """How neighbors vote."""

    protocol: ClassVar[str] = "knn"

    neighbors: int = Field(20, ge=1, description="at most all training lesions")
    temperature: float = Field(0.07, gt=0, description="the lower, the more the nearest counts")

    def scores(self, train: TrainingLesions, features: npt.NDArray) -> ProbeScores:
        """As `knn_scores`."""
        found = knn_scores(
            train.features,
            train.labels,
            features,
            k=self.neighbors,
            temperature=self.temperature,
            classes=train.classes,
        )
        return ProbeScores(found)


def knn_scores(
    train_features: npt.ArrayLike,
    train_labels: npt.ArrayLike,
    features: npt.ArrayLike,
    *,
    k: int = 20,
    temperature: float = 0.07,
    classes: int | None = None,
) -> Array:
    """Vote of the k nearest training lesions, weighted by exp(cosine / temperature).

    After Wu et al., CVPR 2018. Neighbors as near as the k-th all vote, so that the order of the
    training rows does not matter.

    Args:
        train_features: (n, d).
        train_labels: (n,) classes from 0, or (n, K) of 0 and 1.
        features: (m, d) lesions to score.
        k: Number of neighbors, at most n are used.
        temperature: The lower, the more the nearest one counts.
        classes: Number of classes, by default the highest label and one.

    Returns:
        Shares of the vote: (m,) of class 1 for two classes, otherwise (m, K).

    Raises:
        MiramError: If k or the temperature is not positive, or there is no training lesion.
    """
    labels = np.asarray(train_labels)
    if not len(labels):
        raise MiramError("no training lesion to learn from: check the split")
    if classes is None:
        classes = labels.shape[1] if labels.ndim == 2 else max(2, int(labels.max()) + 1)
    votes = one_hot(labels, classes).astype(np.float64)
    if k < 1 or temperature <= 0:
        raise MiramError(f"kNN needs k >= 1 and temperature > 0, got {k} and {temperature}")
    # One thread: sums, and with them ties, must not depend on the number of threads.
    with threadpool_limits(1, user_api="blas"):
        similarity = _unit(features) @ _unit(train_features).T  # (m, d) @ (d, n) -> (m, n)
    k = min(k, len(votes))
    kth = np.partition(similarity, -k, axis=1)[:, -k, None]
    nearest = similarity.max(axis=1, keepdims=True)
    weights = np.exp((similarity - nearest) / temperature) * (similarity >= kth)
    scores = weights @ votes / weights.sum(axis=1, keepdims=True)  # (m, n) @ (n, K) -> (m, K)
    scores = np.clip(scores, 0.0, 1.0)
    return scores[:, 1] if labels.ndim == 1 and classes == 2 else scores


def _unit(features: npt.ArrayLike) -> Array:
    features = np.asarray(features, np.float64)
    norms = np.linalg.norm(features, axis=1, keepdims=True)
    return features / np.where(norms > 0, norms, 1.0)
