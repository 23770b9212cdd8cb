"""Where a lesion is known to be but not where, the tissue is not taken for lesion-free."""

import pandas as pd
import pytest

from miram.mammography.lesion_table import (
    has_place,
    lesion_labels,
    mark_unplaced,
    marked_elsewhere,
)

BOX = {"box_x0": 1, "box_y0": 1, "box_x1": 5, "box_y1": 5}


def image(name, patient="P", side="LEFT", view="CC", **values):
    row = {"image_id": name, "image_path": f"{name}.png", "patient_id": patient}
    return {**row, "laterality": side, "view": view, "mask_paths": [], **values}


def table(*rows):
    return pd.DataFrame(rows)


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"pathology": "BENIGN", "density": 3}, ["pathology"]),
        ({"density": 3, "pathology": None, "mass_shape": None, "subtlety": pd.NA}, []),
        ({"mass_shape": ["OVAL"], "subtlety": 2}, ["subtlety", "mass_shape"]),
        ({"assessment": 1}, []),  # negative
        ({"assessment": 2}, ["assessment"]),  # a benign finding
        ({"assessment": float("nan")}, []),
        ({"abnormality_type": "mass"}, ["abnormality_type"]),
    ],
)
def test_labels_of_a_lesion_speak_of_one_and_those_of_a_breast_do_not(row, expected):
    assert lesion_labels(row) == expected


def test_a_label_that_all_rows_have_does_not_count():
    row = {"abnormality_type": "mass", "pathology": "BENIGN"}
    assert lesion_labels(row, but={"abnormality_type"}) == ["pathology"]


def test_a_mask_or_a_whole_box_is_a_place():
    half = BOX | {"box_x0": None}
    rows = table(image("a", mask_paths=["m"], **half), image("b", **BOX), image("c", **half))
    assert has_place(rows).tolist() == [True, True, False]
    assert has_place(rows.drop(columns=list(BOX))).tolist() == [True, False, False]


def test_a_lesion_without_a_place_marks_its_image_its_file_and_its_view():
    rows = table(
        image("a"),
        image("same_file", side="RIGHT", image_path="a.png"),
        image("same_view"),
        image("other_view", view="MLO"),
        image("other_side", side="RIGHT"),
        image("other_patient", patient="Q"),
    )
    marked = mark_unplaced(rows, rows.head(1))
    assert marked["unplaced_lesion"].tolist() == [True, True, True, False, False, False]
    assert not mark_unplaced(rows, pd.DataFrame())["unplaced_lesion"].any()


@pytest.mark.parametrize("missing", [{"side": None}, {"view": None}])
def test_images_of_unknown_side_or_view_are_not_taken_for_one(missing):
    rows = table(image("a", **missing, **BOX), image("b", **missing))
    assert mark_unplaced(rows, rows.head(1))["unplaced_lesion"].tolist() == [True, False]
    assert marked_elsewhere(rows).tolist() == [False, False]


def test_a_lesion_in_another_image_of_the_view_or_of_the_file_is_elsewhere():
    rows = table(
        image("a", **BOX),
        image("a", **BOX),
        image("twin"),
        image("b", view="MLO", **BOX),
        image("b", view="MLO"),
        image("c", patient="Q", **BOX),
        image("d", patient="Q", **BOX),
        image("e", patient="R", view=None, **BOX),
        image("f", patient="R", view=None, image_path="e.png"),
    )
    expected = [False, False, True, False, False, True, True, False, True]
    assert marked_elsewhere(rows).tolist() == expected


def test_without_any_place_nothing_is_elsewhere():
    assert marked_elsewhere(table(image("a"), image("b"))).tolist() == [False, False]
