"""A lab's own table is understood by near names and words in any case; what is unsure is said."""

import numpy as np
import pytest
from PIL import Image

from miram.errors import MiramError
from miram.mammography.sources import make_source
from miram.mammography.sources.table_guess import guess_table


@pytest.fixture
def lab(tmp_path):
    """Writes a table, and an image for each of the names."""

    def write(text, *images):
        for name in images:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((60, 50), 90, np.uint8)).save(tmp_path / name)
        (tmp_path / "findings.csv").write_text(text)
        return guess_table(tmp_path / "findings.csv", tmp_path)

    return write


def test_names_words_and_boxes_are_guessed_and_the_source_reads_them(lab, tmp_path):
    guess = lab(
        "Case;Side;Projection;left;top;width;height;Diagnosis;grade\n"
        "1;l;cc;4;5;20;30;CANCER;2\n2;R;MLO;1;2;10;10;Benign;1\n",
        *("png/1_l_cc.png", "png/2_R_MLO.png"),
    )
    assert guess.options == {
        "table": "findings.csv",
        "delimiter": ";",
        "columns": {
            "patient_id": "Case",
            "laterality": "Side",
            "view": "Projection",
            "pathology": "Diagnosis",
            "image_path": "png/{Case}_{Side}_{Projection}.png",
        },
        "values": {
            "laterality": {"R": "RIGHT", "l": "LEFT"},
            "pathology": {"Benign": "BENIGN", "CANCER": "MALIGNANT"},
        },
        "box_columns": ["left", "top", "width", "height"],
        "box_format": "size",
        "label_columns": ["grade"],
    }
    assert guess.doubts == []
    lesions = make_source("image_table", guess.options).ingest(tmp_path).lesions
    assert lesions["pathology"].tolist() == ["MALIGNANT", "BENIGN"]
    assert lesions["box_x1"].tolist() == [24, 11]


@pytest.mark.parametrize(
    ("name", "image", "expected"),
    [
        ("png/a.png", "png/a.png", "file"),
        ("a.png", "deep/png/a.png", "deep/png/{file}"),
        ("a", "png/a.png", "png/{file}.png"),
    ],
)
def test_images_are_found_by_name_in_whatever_folder(lab, name, image, expected):
    guess = lab(f"patient_id,file\np,{name}\n", image)
    assert guess.options["columns"]["image_path"] == expected


@pytest.mark.parametrize(
    ("header", "row", "expected"),
    [
        ("Case No,Image", "1,a.png", {"patient_id": "Case No", "image_path": "Image"}),
        ("Patient Number,Image Name", "1,a.png", {"patient_id": "Patient Number"}),
        ("case,image,Lesion", "1,a.png,mass", {"abnormality_type": "Lesion"}),
        ("case,image,Lesion", "1,a.png,x7", {"lesion_id": "Lesion"}),
    ],
)
def test_a_column_is_taken_for_what_its_name_and_cells_say(lab, header, row, expected):
    columns = lab(f"{header}\n{row}\n", "a.png").options["columns"]
    assert columns | expected == columns


def test_what_is_the_same_in_two_rows_names_no_lesion(lab):
    columns = lab("case,image,Lesion\n1,a.png,big\n1,a.png,big\n", "a.png").options["columns"]
    assert "lesion_id" not in columns and "abnormality_type" not in columns


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (("obscured", "circumscribed", "circumscribed/obscured"), "/"),
        (("OVAL-ROUND", "OVAL", "ROUND"), "-"),
        (("ill-defined", "well-defined"), None),
        (("oval", "round"), None),
    ],
)
def test_several_labels_of_a_cell_are_split_and_that_is_asked(lab, cells, expected):
    rows = "".join(f"{number},a.png,{cell}\n" for number, cell in enumerate(cells))
    guess = lab(f"case,image,margin\n{rows}", "a.png")
    assert guess.options.get("label_separator") == expected
    assert any("are split into labels" in doubt for doubt in guess.doubts) == bool(expected)


def test_labels_in_small_letters_are_those_that_the_tasks_ask_for(lab, tmp_path):
    guess = lab(
        "case,image,x,y,w,h,margin\n1,a.png,1,2,20,20,ill-defined/obscured\n"
        "2,b.png,1,2,20,20,obscured\n2,b.png,9,2,20,20,OBSCURED\n"
        "2,b.png,9,9,20,20,ill-defined\n",
        *("a.png", "b.png"),
    )
    assert guess.options["values"] == {
        "mass_margins": {"ill-defined": "ILL_DEFINED", "obscured": "OBSCURED"}
    }
    lesions = make_source("image_table", guess.options).ingest(tmp_path).lesions
    assert [sorted(one) for one in lesions["mass_margins"]] == [
        ["ILL_DEFINED", "OBSCURED"],
        ["OBSCURED"],
        ["OBSCURED"],
        ["ILL_DEFINED"],
    ]


def test_a_standard_table_needs_no_entry(lab):
    guess = lab("patient_id,image_path,pathology,mask_paths\np,a.png,BENIGN,m.png\n", "a.png")
    assert guess.options == {"table": "findings.csv"}


@pytest.mark.parametrize(
    ("column", "value", "expected"),
    [
        ("density", "DENSITY C", "3"),
        ("birads", "BI-RADS 4", "4"),
        ("birads", "4a", "4"),
        ("split", "Training", "train"),
        ("lesion_type", "Calc", "calcification"),
    ],
)
def test_words_of_the_field_are_known(lab, column, value, expected):
    guess = lab(f"patient,file,{column}\np,a.png,{value}\n", "a.png")
    assert [*guess.options["values"].values()] == [{value: expected}]


@pytest.mark.parametrize(
    ("text", "doubt"),
    [
        ("patient,file,label\np,a.png,1\nq,a.png,0\n", "as 1 for malignant, 0 for benign: is it?"),
        ("patient,file,diagnosis\np,a.png,not malignant\n", "'not malignant' of column"),
        ("patient,file\np,b.png\n", "no file under"),
        ("patient,colour\np,red\n", "no column names image files"),
        ("file,grade\na.png,1\n", "set columns.patient_id"),
        ("patient,file\np,a.png\n", "neither a mask nor a box"),
    ],
)
def test_what_is_unsure_is_said(lab, text, doubt):
    assert any(doubt in found for found in lab(text, "a.png").doubts)


def test_a_table_that_is_not_there_is_named(tmp_path):
    with pytest.raises(MiramError, match=f"there is no table at {tmp_path}/none.csv"):
        guess_table(tmp_path / "none.csv", tmp_path)
