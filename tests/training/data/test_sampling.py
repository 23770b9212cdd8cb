import numpy as np
from scipy.stats import kstest

from miram.training.data.sampling import epoch_order, sample_uniforms


def test_an_epoch_visits_every_sample_once_in_an_order_of_its_own():
    first, second = epoch_order(0, 0, 50), epoch_order(0, 1, 50)
    assert sorted(first) == sorted(second) == list(range(50))
    assert not np.array_equal(first, second)
    assert np.array_equal(first, epoch_order(0, 0, 50))


def test_a_samples_numbers_depend_neither_on_its_batch_nor_on_how_many_are_drawn():
    together = sample_uniforms(1, 2, np.array([7, 3, 11]), 5)
    alone = sample_uniforms(1, 2, np.array([3]), 9)
    assert np.array_equal(together[1], alone[0, :5])


def test_numbers_differ_between_seeds_epochs_and_samples_and_are_uniform():
    rows = [
        sample_uniforms(seed, epoch, np.arange(40), 25).ravel()
        for seed in (0, 1)
        for epoch in (0, 1)
    ]
    values = np.concatenate(rows)
    # Single precision leaves rare ties by chance: 4,000 draws among 2**24 values.
    assert len(np.unique(values)) > len(values) - 5
    assert kstest(values, "uniform").pvalue > 1e-3
