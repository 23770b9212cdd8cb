"""What a registered model takes for an image."""

import numpy as np
import pytest

from miram.serving.registry.served_model import ServedModel


@pytest.fixture
def model():
    model = ServedModel()
    model.side = 2
    return model


def test_grey_levels_are_taken_in_every_form_of_numbers(model):
    for values in ([[0, 1], [1, 0]], [[0.0, 1.0], [1.0, 0.0]], np.array([[0, 1], [1, 0]], "f4")):
        np.testing.assert_array_equal(model._square("image", values), [[0, 1], [1, 0]])


@pytest.mark.parametrize(
    "values", [[[True, False]] * 2, [["0", "1"]] * 2, [[None, 1]] * 2, [[1], [1, 2]], 3, [1, 2]]
)
def test_what_is_no_array_of_numbers_is_refused(model, values):
    with pytest.raises(ValueError, match="image is no array of numbers"):
        model._square("image", values)


def test_lists_nested_without_end_are_refused(model):
    values = []
    for _ in range(100_000):
        values = [values]
    with pytest.raises(ValueError, match="image"):
        model._square("image", values)
