"""The lesion table: its schema is enforced and documented; unplaced lesions are marked."""

import pandas as pd
import pytest
from doc_pages import lesion_table_markdown
from project_paths import PROJECT

from miram.errors import MiramError
from miram.mammography.lesion_table import (
    COLUMNS,
    has_place,
    lesion_labels,
    mark_unplaced,
    marked_elsewhere,
    validate_lesions,
)

DOCS = PROJECT / "docs"
ROW = {
    "lesion_id": "a",
    "patient_id": "P_1",
    "image_id": "i",
    "leaks": False,
    "image_path": "i.dcm",
    "mask_paths": ["m.dcm"],
}


def table(*changes):
    return pd.DataFrame([{**ROW, **change} for change in changes or ({},)])


def test_missing_optional_columns_are_added_in_order_and_own_columns_kept():
    lesions = validate_lesions(table({"own_label": "x"}))
    always = [column.name for column in COLUMNS if column.always]
    assert list(lesions) == [*always, "own_label"]
    assert list(validate_lesions(table({"photometric": "MONOCHROME1"}))) == [*always, "photometric"]
    assert lesions["density"].isna().all() and lesions["own_label"].tolist() == ["x"]
    assert lesions["unplaced_lesion"].tolist() == [False], "a flag that is not there is unset"


def test_a_table_is_the_same_after_saving_and_loading(tmp_path):
    rows = table(
        {"mass_shape": ["OVAL"], "density": 3, "box_x0": 4}, {"lesion_id": "b", "mask_paths": []}
    )
    lesions = validate_lesions(rows)
    assert lesions["mask_paths"].tolist() == [["m.dcm"], []]
    lesions.to_parquet(tmp_path / "lesions.parquet")
    again = validate_lesions(pd.read_parquet(tmp_path / "lesions.parquet"))
    pd.testing.assert_frame_equal(again, lesions)


def test_the_ends_of_a_scale_are_on_it():
    ends = ({"density": 1, "assessment": 0, "subtlety": 1}, {"density": 4, "assessment": 6})
    rows = table(ends[0], {"lesion_id": "b", "subtlety": 5, **ends[1]}, {"lesion_id": "c"})
    lesions = validate_lesions(rows)
    assert lesions["assessment"].tolist() == [0, 6, pd.NA]


@pytest.mark.parametrize("value", ["m.dcm", ("m.dcm",), ["m.dcm"]])
def test_one_path_is_a_list_of_one(value):
    assert validate_lesions(table({"mask_paths": value}))["mask_paths"].tolist() == [["m.dcm"]]


@pytest.mark.parametrize("value", [None, float("nan"), pd.NA])
def test_missing_labels_are_none_whatever_stands_for_them(value):
    assert validate_lesions(table({"mass_shape": value}))["mass_shape"].tolist() == [None]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"patient_id": None}, "lesion a has no patient_id"),
        ({"mask_paths": None}, "lesion a has no mask_paths"),
        ({"laterality": "L"}, "lesion a has laterality 'L'; allowed: LEFT, RIGHT"),
        ({"pathology": "BENIGNE"}, "lesion a has pathology 'BENIGNE'"),
        ({"density": "dense"}, "column density .* must hold whole numbers"),
        ({"patient_id": ""}, "lesion a has no patient_id"),
        ({"density": 9}, "lesion a has density 9; allowed: whole numbers from 1 to 4"),
        ({"assessment": 7}, "lesion a has assessment 7"),
        ({"subtlety": -3}, "lesion a has subtlety -3"),
        ({"leaks": pd.NA}, "column leaks .* must hold true or false"),
    ],
)
def test_what_is_wrong_is_named(change, message):
    with pytest.raises(MiramError, match=message):
        validate_lesions(table(change))


def test_an_absent_column_and_a_repeated_lesion_are_named_and_an_empty_table_is_valid():
    with pytest.raises(MiramError, match="no column image_path"):
        validate_lesions(table().drop(columns="image_path"))
    with pytest.raises(MiramError, match="lesion a occurs more than once"):
        validate_lesions(table({}, {}))
    assert validate_lesions(pd.DataFrame()).empty


def test_validation_leaves_its_input_alone():
    rows = table()
    before = rows.copy()
    validate_lesions(rows)
    pd.testing.assert_frame_equal(rows, before)


def test_the_documentation_of_the_table_is_up_to_date():
    text = (DOCS / "lesion_table.md").read_text(encoding="utf-8")
    assert text == lesion_table_markdown(), "write lesion_table_markdown() to docs/lesion_table.md"
    for column in COLUMNS:
        assert f"| `{column.name}` |" in text


BOX = {"box_x0": 1, "box_y0": 1, "box_x1": 5, "box_y1": 5}


def image(name, patient="P", laterality="LEFT", view="CC", **values):
    row = {"image_id": name, "image_path": f"{name}.png", "patient_id": patient}
    return {**row, "laterality": laterality, "view": view, "mask_paths": [], **values}


def images(*rows):
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
    rows = images(image("a", mask_paths=["m"], **half), image("b", **BOX), image("c", **half))
    assert has_place(rows).tolist() == [True, True, False]
    assert has_place(rows.drop(columns=list(BOX))).tolist() == [True, False, False]


def test_a_lesion_without_a_place_marks_its_image_its_file_and_its_view():
    rows = images(
        image("a"),
        image("same_file", laterality="RIGHT", image_path="a.png"),
        image("same_view"),
        image("other_view", view="MLO"),
        image("other_breast", laterality="RIGHT"),
        image("other_patient", patient="Q"),
    )
    marked = mark_unplaced(rows, rows.head(1))
    assert marked["unplaced_lesion"].tolist() == [True, True, True, False, False, False]
    assert not mark_unplaced(rows, pd.DataFrame())["unplaced_lesion"].any()


@pytest.mark.parametrize("missing", [{"laterality": None}, {"view": None}])
def test_images_of_unknown_side_or_view_are_not_taken_for_one(missing):
    rows = images(image("a", **missing, **BOX), image("b", **missing))
    assert mark_unplaced(rows, rows.head(1))["unplaced_lesion"].tolist() == [True, False]
    assert marked_elsewhere(rows).tolist() == [False, False]


def test_a_lesion_in_another_image_of_the_view_or_of_the_file_is_elsewhere():
    rows = images(
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
    assert marked_elsewhere(images(image("a"), image("b"))).tolist() == [False, False]
