"""The lesion table: its schema is enforced and documented."""

import pandas as pd
import pytest
from project_paths import PROJECT

from miram.errors import MiramError
from miram.mammography.lesion_table import COLUMNS, lesion_table_markdown, validate_lesions

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
    assert list(lesions) == [column.name for column in COLUMNS] + ["own_label"]
    assert lesions["density"].isna().all() and lesions["own_label"].tolist() == ["x"]


def test_a_table_is_the_same_after_saving_and_loading(tmp_path):
    rows = table({"mass_shape": ["OVAL"], "density": 3, "box_x0": 4}, {"lesion_id": "b"})
    lesions = validate_lesions(rows)
    lesions.to_parquet(tmp_path / "lesions.parquet")
    again = validate_lesions(pd.read_parquet(tmp_path / "lesions.parquet"))
    pd.testing.assert_frame_equal(again, lesions)


def test_the_ends_of_a_scale_are_on_it():
    ends = ({"density": 1, "assessment": 0, "subtlety": 1}, {"density": 4, "assessment": 6})
    rows = table(ends[0], {"lesion_id": "b", "subtlety": 5, **ends[1]}, {"lesion_id": "c"})
    lesions = validate_lesions(rows)
    assert lesions["assessment"].tolist() == [0, 6, pd.NA]


def test_a_table_written_before_a_flag_was_known_has_it_unset():
    assert validate_lesions(table())["unplaced_lesion"].tolist() == [False]


def test_an_empty_list_of_masks_is_a_value():
    assert validate_lesions(table({"mask_paths": []}))["mask_paths"].tolist() == [[]]


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


def test_a_lesion_that_occurs_twice_is_refused():
    with pytest.raises(MiramError, match="lesion a occurs more than once"):
        validate_lesions(table({}, {}))


def test_a_required_column_that_is_absent_is_named():
    with pytest.raises(MiramError, match="no column image_path"):
        validate_lesions(table().drop(columns="image_path"))


def test_an_empty_table_is_valid():
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
