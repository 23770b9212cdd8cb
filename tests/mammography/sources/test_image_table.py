"""A lab's own table of images."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from project_paths import SHARED_DATA

from miram.errors import MiramError
from miram.mammography.sources import make_source
from miram.mammography.sources.table_columns import as_labels

LESIONS = SHARED_DATA / "cbis_ddsm" / "lesions"
REAL = {
    "table": "manifest.csv",
    "columns": {
        "image_id": "lesion_id",
        "image_path": "crops/{lesion_id}.png",
        "mask_paths": "masks/{lesion_id}.png",
        "laterality": "side",
        "density": "breast_density",
    },
    "constants": {"abnormality_type": "mass"},
    "label_separator": "-",
    "label_columns": ["match", "also_in_calc"],
}
OWN = {"columns": {"image_path": "file", "patient_id": "who"}}


def table(root, rows, name="images.csv", sep=","):
    pd.DataFrame(rows).to_csv(root / name, index=False, sep=sep)


def picture(root, name, shape=(20, 30), dtype=np.uint8):
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.zeros(shape, dtype)).save(path)
    return name


def ingest(root, **options):
    return make_source("image_table", {**OWN, **options}).ingest(root)


@pytest.fixture
def root(tmp_path):
    picture(tmp_path, "a.png")
    return tmp_path


@pytest.mark.skipif(not LESIONS.is_dir(), reason="no shared/data/cbis_ddsm/lesions here")
def test_all_187_real_lesions_come_in_with_their_labels():
    ingested = make_source("image_table", REAL).ingest(LESIONS)
    lesions, raw = ingested.lesions, pd.read_csv(LESIONS / "manifest.csv", dtype=str)
    assert (len(lesions), len(ingested.audit)) == (187, 0)
    assert list(lesions["lesion_id"]) == list(raw["lesion_id"])
    assert lesions["patient_id"].nunique() == 100
    assert dict(lesions["pathology"].value_counts()) == {
        "BENIGN": 91,
        "MALIGNANT": 80,
        "BENIGN_WITHOUT_CALLBACK": 16,
    }
    for ours, theirs in {"density": "breast_density", "assessment": "assessment"}.items():
        assert list(lesions[ours]) == list(raw[theirs].astype(int))
    assert list(lesions["laterality"]) == list(raw["side"])
    for name in ("mass_shape", "mass_margins"):
        expected = [sorted(set(cell.split("-"))) for cell in raw[name].fillna("?")]
        assert [labels or ["?"] for labels in lesions[name]] == expected
    assert (lesions["source_bits"] == 8).all()
    assert list(lesions["match"]) == list(raw["match"])
    sides = raw["crop_y1"].astype(int) - raw["crop_y0"].astype(int)
    assert list(lesions["image_rows"]) == list(sides)
    assert all((LESIONS / path).is_file() for path in lesions["image_path"])
    assert all((LESIONS / path).is_file() for paths in lesions["mask_paths"] for path in paths)
    assert list(lesions.columns)[-2:] == ["match", "also_in_calc"]


@pytest.mark.skipif(not LESIONS.is_dir(), reason="no shared/data/cbis_ddsm/lesions here")
def test_values_are_renamed_and_empty_ones_are_missing():
    values = {"density": {"4": "3", "1": ""}, "mass_shape": {"LOBULATED": "OVAL"}}
    lesions = make_source("image_table", {**REAL, "values": values}).ingest(LESIONS).lesions
    plain = make_source("image_table", REAL).ingest(LESIONS).lesions
    assert set(lesions["density"].dropna()) == {2, 3}
    assert lesions["density"].isna().sum() == (plain["density"] == 1).sum() > 0
    shapes = {label for labels in lesions["mass_shape"].dropna() for label in labels}
    assert "OVAL" in shapes and "LOBULATED" not in shapes


def test_ids_are_made_where_the_table_has_none(root):
    picture(root, "b.png", dtype=np.uint16)
    table(root, {"file": ["a.png", "a.png", "b.png"], "who": ["x", "x", "y"]})
    lesions = ingest(root).lesions
    assert list(lesions["image_id"]) == ["a.png", "a.png", "b.png"]
    assert list(lesions["lesion_id"]) == ["a.png_1", "a.png_2", "b.png_1"]
    assert list(lesions["source_bits"]) == [8, 8, 16]
    assert list(lesions["mask_paths"]) == [[], [], []]
    assert not lesions["leaks"].any()


@pytest.mark.parametrize("box_format", ["corners", "size"])
def test_boxes_are_half_open_and_rounded_outwards(root, box_format):
    end = (12, 15.2) if box_format == "corners" else (8, 12.9)
    cells = {"l": [4, ""], "t": [2.3, ""], "r": [end[0], ""], "b": [end[1], ""]}
    table(root, {"file": ["a.png"] * 2, "who": ["x"] * 2, **cells})
    lesions = ingest(root, box_columns=["l", "t", "r", "b"], box_format=box_format).lesions
    boxes = lesions[["box_x0", "box_y0", "box_x1", "box_y1"]]
    assert list(boxes.iloc[0]) == [4, 2, 12, 16]
    assert boxes.iloc[1].isna().all(), "a row without a box is an image without a marked lesion"


@pytest.mark.parametrize(
    ("box", "code", "kept"),
    [
        ((25, 10, 35, 25), "box_clipped", (25, 10, 30, 20)),
        ((-3, 0, 5, 5), "box_clipped", (0, 0, 5, 5)),
        ((40, 0, 50, 5), "box_outside", None),
        ((5, 5, 5, 9), "box_empty", None),
        ((9, 5, 5, 9), "box_empty", None),
        ((9, "", 5, 9), "box_incomplete", None),
    ],
)
def test_boxes_that_do_not_fit_are_clipped_or_left_out_and_noted(root, box, code, kept):
    cells = {
        name: [value, 1 + place]
        for place, (name, value) in enumerate(zip("ltrb", box, strict=True))
    }
    table(root, {"file": ["a.png"] * 2, "who": ["x"] * 2, **cells})
    ingested = ingest(root, box_columns=list("ltrb"))
    assert list(ingested.audit["code"]) == [code]
    assert len(ingested.lesions) == (2 if kept else 1)
    if kept:
        row = ingested.lesions.iloc[0]
        assert tuple(row[f"box_{name}"] for name in ("x0", "y0", "x1", "y1")) == kept
        assert row["repairs"] == [code]


def test_missing_and_unfit_files_become_audit_rows(root):
    picture(root, "mask.png")
    picture(root, "half.png", (10, 15))
    picture(root, "square.png", (20, 20))
    picture(root, "color.png", (20, 30, 3))
    (root / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    rows = [
        ("a.png", "mask.png"),
        ("gone.png", "mask.png"),
        ("a.png", "gone.png"),
        ("a.png", "square.png"),
        ("a.png", "half.png"),
        ("color.png", ""),
        ("broken.png", ""),
        ("a.png", "mask.png;half.png"),
    ]
    table(root, [{"file": f, "m": m, "who": "x", "id": f"n{i}"} for i, (f, m) in enumerate(rows)])
    columns = {**OWN["columns"], "mask_paths": "m", "lesion_id": "id"}
    ingested = ingest(root, columns=columns)
    assert list(ingested.lesions["lesion_id"]) == ["n0", "n4", "n7"]
    assert list(ingested.lesions["mask_paths"])[2] == ["mask.png", "half.png"]
    left_out = ingested.audit[ingested.audit["action"] == "left out"]
    assert dict(zip(left_out["lesion_id"], left_out["code"], strict=True)) == {
        "n1": "image_missing",
        "n2": "mask_missing",
        "n3": "mask_aspect_differs",
        "n5": "image_color",
        "n6": "image_unreadable",
    }
    resized = ingested.audit[ingested.audit["code"] == "mask_resized"]
    assert sorted(resized["lesion_id"]) == ["n4", "n7"]


@pytest.mark.parametrize("path", ["../a.png", "x/../../a.png", "/etc/passwd", "..\\a.png"])
def test_a_path_out_of_raw_root_is_refused(root, path):
    table(root, {"file": [path], "who": ["x"]})
    with pytest.raises(MiramError, match="leads out of raw_root"):
        ingest(root)


def test_detours_within_raw_root_are_straightened(root):
    table(root, {"file": ["x/../a.png", str(root / "a.png")], "who": ["x", "x"]})
    assert set(ingest(root).lesions["image_path"]) == {"a.png"}


def test_an_unknown_pathology_says_how_to_map_it(root):
    table(root, {"file": ["a.png"] * 3, "who": ["x"] * 3, "dx": ["Malignant", "Normal", "BENIGN"]})
    columns = {**OWN["columns"], "pathology": "dx"}
    with pytest.raises(MiramError) as caught:
        ingest(root, columns=columns)
    message = str(caught.value)
    assert "'Malignant', 'Normal'" in message and "column 'dx'" in message
    assert "values: {pathology: {'Malignant': MALIGNANT, 'Normal': ''}}" in message
    values = {"pathology": {"Malignant": "MALIGNANT", "Normal": ""}}
    pathology = ingest(root, columns=columns, values=values).lesions["pathology"]
    assert list(pathology.fillna("?")) == ["MALIGNANT", "?", "BENIGN"]


def test_letters_in_a_column_of_numbers_say_how_to_map_them(root):
    table(root, {"file": ["a.png"], "who": ["x"], "density": ["B"]})
    with pytest.raises(
        MiramError, match=r"'B', but density may be whole numbers from 1 to 4; map them"
    ):
        ingest(root)
    assert list(ingest(root, values={"density": {"B": "2"}}).lesions["density"]) == [2]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"columns": {"image_path": "file", "patient_id": "whom"}}, "no column 'whom'; .* who"),
        ({"columns": {"image_path": "{fil}.png"}}, "no column 'fil'; did you mean file"),
        ({"columns": {"image_path": "file"}}, r"no column patient_id \(it has: file, who\)"),
        ({"columns": {"image": "file"}}, "columns: 'image' is none of lesion_id"),
        ({"values": {"leaks": {"0": "1"}}}, "values: 'leaks' is none of"),
        ({"label_columns": ["grade"]}, "label_columns: there is no column 'grade'"),
        ({"label_columns": ["pathology"]}, "pathology is a column of the lesion table"),
        ({"box_columns": ["x", "y", "w", "h"]}, "box_columns: there is no column 'x'"),
        ({"table": "other.csv"}, "no table .*other.csv"),
        ({"tabel": "x"}, "tabel; did you mean table.*options: pseudonyms"),
        ({"delimiter": ";"}, "has one column, 'file,who': set the option delimiter: "),
    ],
)
def test_mistakes_in_the_options_are_reported(root, options, words):
    table(root, {"file": ["a.png"], "who": ["x"]})
    with pytest.raises(MiramError, match=words):
        ingest(root, **options)


def test_semicolons_spaces_and_a_byte_order_mark_are_understood(root):
    text = "\ufeffFile Name;who;View\n a ; x ;CC\n"
    (root / "images.csv").write_text(text, encoding="utf-8")
    columns = {"image_path": "{File Name}.png", "patient_id": "who", "view": "View"}
    row = ingest(root, columns=columns, delimiter=";").lesions.iloc[0]
    assert (row["image_path"], row["patient_id"], row["view"]) == ("a.png", "x", "CC")


def test_patients_on_both_sides_of_the_split_are_marked(root):
    rows = {"file": ["a.png", "b.png", "c.png"], "who": ["x", "x", "y"]}
    for name in rows["file"]:
        picture(root, name)
    table(root, {**rows, "split": ["training", "test", "test"]})
    columns = {**OWN["columns"], "official_split": "split"}
    lesions = ingest(
        root, columns=columns, values={"official_split": {"training": "train"}}
    ).lesions
    assert list(lesions["leaks"]) == [True, True, False]


def test_an_empty_patient_is_reported_with_its_line(root):
    table(root, {"file": ["a.png", "a.png"], "who": ["x", ""]})
    with pytest.raises(MiramError, match="line 3: patient_id is empty"):
        ingest(root)


def test_a_table_of_missing_files_alone_says_which_and_why(root):
    table(root, {"file": ["b.png", "c.png"], "who": ["x", "x"]})
    with pytest.raises(MiramError, match=r"none of the 2 rows .* 2 x image_missing, first b\.png"):
        ingest(root)


def test_columns_that_are_taken_are_logged_and_near_names_asked_about(root, caplog):
    table(
        root, [{"file": "a.png", "who": "x", "Pathology": "B", "breast density": 2, "view": "CC"}]
    )
    with caplog.at_level("INFO", logger="miram"):
        lesions = ingest(root).lesions
    assert lesions["pathology"].isna().all()
    assert "taken are patient_id, view, image_path" in caplog.messages
    asked = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert [text.partition("set ")[2] for text in asked if "no column gives" in text] == [
        "columns: {pathology: Pathology}",
        "columns: {density: breast density}",
    ]


def test_a_column_that_is_taken_for_another_is_not_asked_about(root, caplog):
    table(root, [{"file": "a.png", "who": "x", "views": "CC", "Density": "b"}])
    columns = {**OWN["columns"], "lesion_id": "{file}_{views}"}
    ingest(root, columns=columns, label_columns=["Density"])
    assert "no column gives" not in caplog.text


def test_yes_and_no_of_yaml_are_to_be_quoted():
    values = {"pathology": {True: "MALIGNANT", False: "BENIGN"}}
    with pytest.raises(MiramError, match=r"yes, no, on and off for true and false; put it into q"):
        make_source("image_table", {"values": values})


@given(st.lists(st.sampled_from(["OVAL", "ROUND", "IRREGULAR"]), min_size=1, max_size=5))
def test_labels_come_back_sorted_and_once_whatever_their_order(labels):
    assert as_labels(pd.Series(["-".join(labels)]), "-", {}) == [sorted(set(labels))]


def test_a_number_that_no_table_holds_is_refused(root):
    table(root, [{"file": "a.png", "who": "anna", "abnormality_id": "1e300"}])
    with pytest.raises(MiramError, match="'1e300', but abnormality_id may be"):
        ingest(root)


def test_a_name_with_a_nul_is_one_row_of_the_audit(root):
    rows = [{"file": "a.png", "who": "anna"}, {"file": "b\0.png", "who": "anna"}]
    table(root, rows)
    found = ingest(root)
    assert list(found.lesions["image_path"]) == ["a.png"]
    assert list(found.audit["code"]) == ["image_unreadable"]
