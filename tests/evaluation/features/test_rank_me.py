import numpy as np
import pytest

from miram.errors import MiramError
from miram.evaluation.features.rank_me import rank_me


def orthogonal(count, seed=0):
    return np.linalg.qr(np.random.default_rng(seed).normal(size=(count, count)))[0]


@pytest.mark.parametrize("rank", [1, 3, 8])
def test_equal_singular_values_give_their_number(rank):
    left, right = orthogonal(20)[:, :rank], orthogonal(8, 1)[:rank]
    assert rank_me(5 * left @ right) == pytest.approx(rank, rel=1e-3)


def test_it_follows_the_entropy_of_unequal_singular_values():
    features = orthogonal(20)[:, :2] @ np.diag([3.0, 1.0]) @ orthogonal(8, 1)[:2]
    entropy = -(0.75 * np.log(0.75) + 0.25 * np.log(0.25))
    assert rank_me(features) == pytest.approx(np.exp(entropy), rel=1e-3)


def test_scale_and_rotation_do_not_matter():
    features = np.random.default_rng(0).normal(size=(30, 8))
    assert rank_me(7 * features @ orthogonal(8)) == pytest.approx(rank_me(features))


def test_collapsed_features_have_rank_one_and_bad_ones_are_refused():
    assert rank_me(np.ones((10, 4))) == pytest.approx(1, rel=1e-3)
    with pytest.raises(MiramError, match="finite"):
        rank_me([[1.0, np.nan]])
