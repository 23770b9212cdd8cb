"""No lesion of a lab's table is lost without a word, and none becomes background."""

import logging
import unicodedata

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from miram.errors import MiramError
from miram.mammography.crops.cut import CropConfig
from miram.mammography.crops.plan import build_crop_store, plan_crops
from miram.mammography.pseudonyms import PseudonymKey
from miram.mammography.sources import make_source
from miram.pipelines.ingest import ingest_lesions

BOX = ("box_x0", "box_y0", "box_x1", "box_y1")
CONFIG = CropConfig(image_size=32, context=1.0, backgrounds_per_image=2)


@pytest.fixture
def root(tmp_path):
    pixels = np.zeros((300, 200), dtype=np.uint16)
    pixels[50:250, :150] = np.random.default_rng(0).integers(20_000, 60_000, (200, 150))
    for name in "abc":
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
    return tmp_path


def ingest(root, text, **options):
    (root / "images.csv").write_text(text, encoding="utf-8")
    return make_source("image_table", options).ingest(root)


def cut(root, ingested):
    store = build_crop_store(plan_crops(ingested.lesions, root, CONFIG), root / "crops")
    return store, store.manifest.groupby("image_id")["kind"].agg(sorted).to_dict()


HEADER = "image_path,patient_id,pathology,box_x0,box_y0,box_x1,box_y1\n"
HALF = HEADER + "a.png,p,MALIGNANT,40,100,80,130\nb.png,q,MALIGNANT,,,,\nc.png,r,,,,,\n"


def test_box_columns_named_as_the_lesion_table_names_them_are_corners(root):
    lesions = ingest(root, HALF, box_format="size").lesions
    assert lesions.iloc[0][list(BOX)].tolist() == [40, 100, 80, 130]
    assert lesions.iloc[1][list(BOX)].isna().all()


def test_a_part_of_the_box_columns_is_refused(root):
    with pytest.raises(MiramError, match=r"has box_x0, box_y0, but a box needs box_x0, .*box_y1"):
        ingest(root, "image_path,patient_id,box_x0,box_y0\na.png,p,1,2\n")


def test_columns_of_a_box_have_their_own_option(root):
    with pytest.raises(MiramError, match="columns: name the columns of a box in box_columns"):
        ingest(root, HALF, columns={"box_x0": "left"})


def test_a_labelled_row_without_a_place_is_reported_and_its_image_gives_no_background(root):
    ingested = ingest(root, HALF)
    audit = ingested.audit[["lesion_id", "file", "code", "action"]]
    assert audit.to_numpy().tolist() == [["b.png_1", "b.png", "no_location", "kept"]]
    assert "pathology given" in ingested.audit["detail"][0]
    assert ingested.lesions["unplaced_lesion"].tolist() == [False, True, False]
    store, kinds = cut(root, ingested)
    assert kinds == {
        "a.png": ["background", "background", "lesion"],
        "c.png": ["background", "background"],
    }
    reported = store.audit[store.audit["file"] == "b.png"]
    assert (
        reported["code"].tolist() == ["few_backgrounds"]
        and "no known place" in reported["detail"].iloc[0]
    )


def test_labels_alone_end_the_crops_with_the_remedy(root):
    table = "image_path,patient_id,pathology\na.png,p,BENIGN\nb.png,q,MALIGNANT\n"
    ingested = ingest(root, table)
    assert ingested.audit["code"].tolist() == ["no_location"] * 2
    with pytest.raises(MiramError, match=r"no_location.* a box of the whole image"):
        cut(root, ingested)


def test_a_kind_of_lesion_that_all_rows_have_makes_no_normal_image_doubtful(root):
    constants = {"abnormality_type": "mass"}
    ingested = ingest(root, HALF, constants=constants)
    assert ingested.audit["lesion_id"].tolist() == ["b.png_1"]


def test_lesions_and_images_without_one_are_counted_apart(root, caplog):
    (root / "images.csv").write_text(HALF, encoding="utf-8")
    with caplog.at_level(logging.INFO, logger="miram"):
        ingest_lesions(root, "image_table", {}, PseudonymKey(root / "key"))
    assert "1 lesions of 1 patients in 1 mammograms" in caplog.messages
    assert "2 mammograms of 2 patients in which nothing is marked" in caplog.messages
    assert "audit: 1 x no_location, kept" in caplog.messages


def test_an_image_with_a_lesion_left_out_gives_no_background(root):
    two = HEADER + "a.png,p,BENIGN,40,100,80,130\na.png,p,BENIGN,900,900,950,950\n"
    ingested = ingest(root, two + "b.png,q,BENIGN,40,100,80,130\n")
    assert ingested.audit["code"].tolist() == ["box_outside"]
    _, kinds = cut(root, ingested)
    assert kinds == {"a.png": ["lesion"], "b.png": ["background", "background", "lesion"]}


def test_two_images_of_one_view_with_a_lesion_give_no_background_of_the_other(root):
    header = "image_path,patient_id,laterality,view,box_x0,box_y0,box_x1,box_y1\n"
    rows = "a.png,p,LEFT,cc,40,100,80,130\nb.png,p,LEFT,CC,,,,\nc.png,p,LEFT,MLO,,,,\n"
    ingested = ingest(root, header + rows)
    assert ingested.lesions["view"].tolist() == ["CC", "CC", "MLO"]
    store, kinds = cut(root, ingested)
    assert kinds == {
        "a.png": ["background", "background", "lesion"],
        "c.png": ["background", "background"],
    }
    assert "another image" in store.audit.set_index("file").loc["b.png", "detail"]


@pytest.mark.parametrize(
    "text",
    [
        "image_path,patient_id\na.png,p\n./a.png,q\n",
        "image_path,patient_id\na.png,p\nx/..\\a.png,q\n",
        "image_path,patient_id,image_id\na.png,p,A\na.png,q,B\n",
    ],
)
def test_a_file_of_two_patients_is_refused_however_it_is_spelled(root, text):
    with pytest.raises(MiramError, match=r"image a\.png has patient_id p and q"):
        ingest(root, text)


@pytest.mark.parametrize("options", [{}, {"box_columns": list(BOX), "box_format": "size"}])
def test_boxes_in_parts_of_the_image_are_refused(root, options):
    with pytest.raises(
        MiramError, match=r"between 0 and 1, .* multiply x and widths by its columns"
    ):
        ingest(
            root, HEADER + "a.png,p,,0.1,0.2,0.3,0.5\nb.png,q,,0,0,1,1\nc.png,r,,,,,\n", **options
        )


@pytest.mark.parametrize(
    ("rows", "line"),
    [
        ("a.png,p,,0.31,0.42,0.55,1.002\nb.png,q,,-0.0004,0.4,0.5,0.6\n", 2),
        ("a.png,p,,10,20,60,80\nb.png,q,,0.31,0.42,0.55,0.7\n", 3),
    ],
)
def test_some_boxes_in_parts_of_the_image_are_refused_with_their_line(root, rows, line):
    with pytest.raises(MiramError, match=rf"line {line}: .* between 0 and 1"):
        ingest(root, HEADER + rows)


def test_boxes_of_a_few_pixels_and_empty_ones_are_no_parts_of_the_image(root):
    ingested = ingest(root, HEADER + "a.png,p,,0,0,2,2\nb.png,q,,0,0,0,0\n")
    assert ingested.audit["code"].tolist() == ["box_empty"]


TWICE = HEADER.replace("box_x0", "mask_paths,box_x0")


@pytest.mark.parametrize("place", ["c.png,40,100,80,130", "c.png,,,,", ",40,100,80,130"])
def test_one_place_that_is_benign_and_malignant_is_refused_with_its_lines(root, place):
    rows = f"b.png,q,BENIGN,{place}\na.png,p,BENIGN,{place}\na.png,p,MALIGNANT,{place}\n"
    with pytest.raises(MiramError, match=r"lines 3 and 4: .* a\.png is BENIGN and MALIGNANT"):
        ingest(root, TWICE + rows)


def test_one_place_in_two_rows_is_named(root):
    rows = "a.png,p,BENIGN,b.png,,,,\na.png,p,,b.png,40,100,80,130\na.png,p,BENIGN,c.png,,,,\n"
    ingested = ingest(root, TWICE + rows)
    assert ingested.audit[["lesion_id", "code"]].to_numpy().tolist() == [["a.png_2", "same_place"]]
    assert len(ingested.lesions) == 3


@pytest.mark.parametrize("box", ["inf,20,60,80", "10,20,inf,80", "10,-inf,60,80", "10,1e400,60,80"])
def test_a_box_without_end_is_outside(root, box):
    ingested = ingest(root, HEADER + f"a.png,p,,{box}\nb.png,q,,1,2,60,80\n")
    assert ingested.audit["code"].tolist() == ["box_outside"]
    assert ingested.lesions["image_id"].tolist() == ["b.png"]


def test_what_grey_levels_mean_can_be_declared_for_all_rows_or_each(root):
    expected = cut(root, ingest(root, HALF))[0]
    for name in "ac":
        pixels = np.asarray(Image.open(root / f"{name}.png"))
        Image.fromarray(65_535 - pixels).save(root / f"{name}.png")
    lines = HALF.splitlines()
    reported = [
        f"{line},{word}" for line, word in zip(lines, ["way", "low", "high", "low"], strict=True)
    ]
    values = {"photometric": {"low": "MONOCHROME1", "high": "MONOCHROME2"}}
    each = ingest(root, "\n".join(reported), columns={"photometric": "way"}, values=values)
    np.testing.assert_array_equal(cut(root, each)[0].crops, expected.crops)
    every = ingest(root, HALF, constants={"photometric": "MONOCHROME1"}).lesions
    assert every["photometric"].tolist() == ["MONOCHROME1"] * 3


def test_numbers_in_yaml_stand_for_their_text(root):
    text = "image_path,patient_id,pathology\na.png,p,0\nb.png,q,1\n"
    values = {"pathology": {0: "BENIGN", 1: "MALIGNANT"}}
    lesions = ingest(root, text, values=values, constants={"density": 2}).lesions
    assert lesions["pathology"].tolist() == ["BENIGN", "MALIGNANT"]
    assert lesions["density"].tolist() == [2, 2]


@pytest.mark.parametrize(
    ("name", "on_disk", "words"),
    [
        ("a.PNG", "a.png", "there is a.png, .* upper and lower case"),
        (
            unicodedata.normalize("NFC", "ü.png"),
            unicodedata.normalize("NFD", "ü.png"),
            "how accents are coded",
        ),
    ],
)
def test_a_file_that_differs_in_spelling_alone_is_named(root, name, on_disk, words):
    (root / "a.png").rename(root / on_disk)
    audit = ingest(root, f"image_path,patient_id\n{name},p\nb.png,q\n").audit
    assert audit["code"].tolist() == ["image_missing"]
    assert pd.Series(audit["detail"]).str.contains(words).all()
