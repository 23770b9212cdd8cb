"""A short part of `make faults`: damaged files and inputs are taken or refused, nothing else."""

import images
import inputs
import pytest


def assert_no_faults(tried, count):
    assert tried.faults == []
    assert tried.outcome.total() == count
    assert len(tried.outcome) > 1  # some were taken, some refused


def test_damaged_images_become_crops_or_rows_of_the_audit():
    (ingested, cut), about = images.attack(100, seed=3)
    assert_no_faults(ingested, 100)
    assert_no_faults(cut, 100)
    assert len(about["codes"]) > 4


@pytest.mark.parametrize("kind", ["tables", "scores"])
def test_damaged_inputs_are_taken_or_refused(kind):
    (tried,) = inputs.attack(30, 3, kind)
    assert_no_faults(tried, 30)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["case_tables", "settings", "checkpoints", "json", "requests"])
def test_more_damaged_inputs_are_taken_or_refused(kind):
    count = 8 if kind == "settings" else 20
    (tried,) = inputs.attack(count, 3, kind)
    assert_no_faults(tried, count)


def test_what_ends_a_reader_is_a_fault_once_for_each_place():
    def attack(folder, value):
        if value > 3:
            raise KeyError(value)

    tried = inputs.tried("numbers", 30, 0, inputs.st.integers(0, 100), attack)
    assert len(tried.faults) == 1 and "KeyError in" in tried.faults[0]
    assert 1 < tried.outcome["FAULT"] < 30
    assert tried.outcome.total() == 30
