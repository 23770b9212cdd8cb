"""What a registered model takes for an image."""

import numpy as np
import pytest
from mlflow.exceptions import MlflowException

from miram.serving.registry.served_model import ServedModel


@pytest.fixture
def model():
    model = ServedModel()
    model.image_size = 2
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


def grey(model, **row):
    model.settings = {"reads_masks": False}
    model.cells = 1
    return model._cut(0, row)


@pytest.mark.parametrize(("kind", "bits"), [(np.uint8, 8), (np.uint16, 16), (np.uint16, 12.0)])
def test_whole_grey_levels_are_taken_with_their_bits(model, kind, bits):
    white = 2 ** int(bits) - 1
    _, images, _, _, notes = grey(
        model, image=np.array([[0, white], [white // 2, 1]], kind), bits=bits
    )
    np.testing.assert_allclose(images[0], [[0, 1], [white // 2 / white, 1 / white]], rtol=1e-6)
    assert images.dtype == np.float32 and notes == []


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"image": [[0, 256], [0, 0]], "bits": 8}, r"outside \[0, 255\]"),
        ({"image": [[0, 255], [0, 0]]}, r"outside \[0, 1\]: .* or give image with bits"),
        ({"image": [[0, 1], [0, 0]], "bits": 0}, "bits is a whole number from 1 to 16, got 0"),
        ({"image": [[0, 1], [0, 0]], "bits": "8"}, "bits is a whole number"),
        ({"image": [[0, 1], [0, 0]], "bits": [8]}, "bits is a whole number"),
        ({"dicom": "", "bits": 8}, "bits does not go with dicom"),
    ],
)
def test_levels_and_bits_that_do_not_fit_are_refused(model, row, words):
    with pytest.raises(MlflowException, match=words):
        grey(model, **row)


def test_a_flat_image_is_answered_with_a_note(model):
    assert grey(model, image=[[0.5, 0.5], [0.5, 0.5]])[-1] == ["the image has one grey level"]


@pytest.mark.parametrize("name", ["image", "mask", "bits", "dicom"])
def test_lists_nested_without_end_are_refused(model, name):
    values = []
    for _ in range(100_000):
        values = [values]
    given = {} if name == "dicom" else {"image": [[0.0, 1.0], [1.0, 0.0]]}
    model.cells, model.settings = 1, {"reads_masks": True}
    with pytest.raises(MlflowException, match=f"row 0: {name} is "):
        model._cut(0, {**given, name: values})
