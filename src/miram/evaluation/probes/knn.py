"""Answers without training: the weighted nearest neighbours and the class frequencies.

Nearest neighbours use the features as they are, which masked autoencoders find the hardest test.
"""

import numpy as np
import numpy.typing as npt
from pydantic import Field
from threadpoolctl import threadpool_limits

from miram.configuration import Config
from miram.errors import MiramError
from miram.evaluation.statistics.inputs import one_hot

Array = npt.NDArray[np.float64]


class KnnConfig(Config):
    """How neighbors vote."""

    neighbors: int = Field(20, ge=1, description="at most all training lesions")
    temperature: float = Field(0.07, gt=0, description="the lower, the more the nearest counts")

    def scores(
        self,
        train_features: npt.NDArray,
        train_labels: npt.NDArray[np.int64],
        features: npt.NDArray,
        *,
        classes: int,
    ) -> Array:
        """As `knn_scores`."""
        k, temperature = self.neighbors, self.temperature
        return knn_scores(
            train_features, train_labels, features, k=k, temperature=temperature, classes=classes
        )


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

    After Wu et al., CVPR 2018. Neighbours as near as the k-th all vote, so that the order of the
    training rows does not matter.

    Args:
        train_features: (n, d).
        train_labels: (n,) classes from 0, or (n, K) of 0 and 1.
        features: (m, d) lesions to score.
        k: Number of neighbours, at most n are used.
        temperature: The lower, the more the nearest one counts.
        classes: Number of classes, by default the highest label and one.

    Returns:
        Shares of the vote: (m,) of class 1 for two classes, otherwise (m, K).

    Raises:
        MiramError: If k or the temperature is not positive, or there is no training lesion.
    """
    votes = _votes(train_labels, classes)
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
    return _shape(np.clip(scores, 0.0, 1.0), train_labels)


def _votes(labels: npt.ArrayLike, classes: int | None) -> Array:
    labels = np.asarray(labels)
    if not len(labels):
        raise MiramError("no training lesion to learn from: check the split")
    if classes is None and labels.ndim == 1:
        classes = max(2, int(labels.max()) + 1)
    return one_hot(labels, classes or labels.shape[1]).astype(np.float64)


def _shape(scores: Array, labels: npt.ArrayLike) -> Array:
    return scores[:, 1] if np.ndim(labels) == 1 and scores.shape[1] == 2 else scores


def _unit(features: npt.ArrayLike) -> Array:
    features = np.asarray(features, np.float64)
    norms = np.linalg.norm(features, axis=1, keepdims=True)
    return features / np.where(norms > 0, norms, 1.0)
