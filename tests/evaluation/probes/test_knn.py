"""Nearest neighbours and class frequencies."""

import numpy as np
from sklearn.neighbors import KNeighborsClassifier

from miram.evaluation.probes.knn import KnnConfig
from miram.evaluation.probes.protocols import TrainingLesions


def knn_scores(train, labels, features, neighbors=20):
    labels = np.asarray(labels)
    classes = labels.shape[1] if labels.ndim == 2 else labels.max() + 1
    given = TrainingLesions(np.asarray(train), labels, np.arange(len(labels)), classes)
    return KnnConfig(neighbors=neighbors).scores(given, features).scores


def data(seed=0, n=120, m=30, d=8):
    rng = np.random.default_rng(seed)
    return (
        rng.standard_normal((n, d)),
        rng.permutation(np.arange(n) % 3),
        rng.standard_normal((m, d)),
    )


def test_votes_equal_scikit_learns_weighted_neighbours():
    train, labels, features = data()
    reference = KNeighborsClassifier(
        20, metric="cosine", algorithm="brute", weights=lambda far: np.exp((1 - far) / 0.07)
    )
    expected = reference.fit(train, labels).predict_proba(features)
    np.testing.assert_allclose(knn_scores(train, labels, features), expected, atol=1e-9)


def test_two_classes_give_the_probability_of_the_second():
    train, labels, features = data()
    binary = knn_scores(train, labels % 2, features)
    assert binary.shape == (30,)
    both = knn_scores(train, np.eye(2)[labels % 2], features)
    np.testing.assert_allclose(both, np.column_stack([1 - binary, binary]))


def test_neighbours_with_several_labels_vote_for_each():
    train = np.array([[1.0, 0.0], [0.0, 1.0]])
    hot = np.array([[1, 1, 0], [0, 0, 1]])
    found = knn_scores(train, hot, [[3.0, 0.0]], neighbors=1)
    np.testing.assert_allclose(found, [[1, 1, 0]])


def test_length_of_features_and_order_of_rows_do_not_matter():
    train, labels, features = data()
    # Two equal lesions of different class straddle the k-th place.
    train[1], labels[:2] = train[0], [0, 1]
    expected = knn_scores(train, labels, features, neighbors=5)
    order = np.random.default_rng(1).permutation(len(labels))
    found = knn_scores(4 * train[order], labels[order], 0.5 * features, neighbors=5)
    np.testing.assert_allclose(found, expected, atol=1e-9)


def test_fewer_lesions_than_neighbours_all_vote():
    found = knn_scores(np.eye(3), [0, 1, 1], np.ones((1, 3)))
    np.testing.assert_allclose(found, [2 / 3])
