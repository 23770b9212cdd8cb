"""The CBIS-DDSM source against a phantom whose every quirk is known."""

import shutil

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from miram.errors import MiramError
from miram.mammography.crops.cut import CropConfig
from miram.mammography.crops.plan import plan_crops
from miram.mammography.decoding.read import read_image
from miram.mammography.lesion_table import validate_lesions
from miram.mammography.phantom import PhantomConfig, draw_cases
from miram.mammography.phantom.files import lesion_places
from miram.mammography.sources import explain_code, make_source
from miram.mammography.sources.cbis_ddsm.source import CbisDdsmSource

CONFIG = PhantomConfig(patients=40, image_size=256, seed=2)
PREFIX = {"mass": "Mass", "calcification": "Calc"}
SPLIT = {"train": "Training", "test": "Test"}


@pytest.fixture(scope="module")
def raw_root(write_phantom_files, tmp_path_factory):
    return write_phantom_files(CONFIG, tmp_path_factory.mktemp("quirks"))


@pytest.fixture(scope="module")
def cases():
    """The truth, one row per lesion, with its lesion id and the true places of its files."""
    truth = draw_cases(CONFIG)
    rows = truth.to_dict("records")
    places = [lesion_places(row, CONFIG.seed) for row in rows]
    return truth.assign(
        lesion_id=[
            f"{PREFIX[row['kind']]}-{SPLIT[row['split']]}_{row['patient_id']}_{row['laterality']}_"
            f"{row['view']}_{row['number']}"
            for row in rows
        ],
        image_path=[f"CBIS-DDSM/{place.image.path}" for place in places],
        mask_path=[f"CBIS-DDSM/{place.mask.path}" for place in places],
        image_uid=[place.image.series for place in places],
    ).set_index("lesion_id")


@pytest.fixture(scope="module")
def ingested(raw_root):
    return CbisDdsmSource().ingest(raw_root)


@pytest.fixture(scope="module")
def lesions(ingested, cases):
    return ingested.lesions.set_index("lesion_id").loc[cases.index]


def test_every_row_is_found_and_none_invented(ingested, cases):
    assert sorted(ingested.lesions["lesion_id"]) == sorted(cases.index)
    assert len(cases) > 80
    assert (ingested.audit["action"] != "left out").all()


def test_files_pathology_split_and_leaks_are_the_true_ones_whatever_the_quirks(lesions, cases):
    assert (lesions["image_path"] == cases["image_path"]).all()
    assert (lesions["image_id"] == cases["image_uid"]).all()
    assert lesions["mask_paths"].tolist() == [[path] for path in cases["mask_path"]]
    assert (lesions["source_bits"] == 16).all()
    assert (lesions["pathology"] == cases["pathology"]).all()
    assert (lesions["official_split"] == cases["split"]).all()
    leaking = cases.groupby("patient_id")["split"].transform("nunique") == 2
    assert leaking.any() and (lesions["leaks"] == leaking).all()


def test_images_are_named_and_sized_as_they_are(lesions, raw_root):
    for row in lesions.drop_duplicates("image_id").iloc[::40].itertuples():
        assert read_image(raw_root / row.image_path).pixels.shape == (
            row.image_rows,
            row.image_columns,
        )


@pytest.mark.parametrize(
    ("code", "quirk"), [("mask_resized", "mask_mismatch"), ("swapped_files", "swapped_files")]
)
def test_every_repair_is_written_down(ingested, lesions, cases, code, quirk):
    repaired = set(cases.index[cases[quirk]])
    audit = ingested.audit[ingested.audit["code"] == code]
    assert repaired and set(audit["lesion_id"]) == repaired and len(audit) == len(repaired)
    flagged = lesions["repairs"].map(lambda repairs: code in repairs)
    assert (flagged == cases[quirk]).all()
    assert set(ingested.audit["code"]) == {"mask_resized", "swapped_files"}, "nothing else"


def test_lesions_of_one_view_and_kind_share_their_image(lesions, cases):
    shared = cases.groupby("image_uid").size()
    assert (shared > 1).any()
    assert lesions.groupby("image_id").size().to_dict() == shared.to_dict()


def test_missing_values_are_missing(lesions, cases):
    mass = cases["kind"] == "mass"
    for kind, first, second in (
        (mass, "mass_shape", "mass_margins"),
        (~mass, "calc_type", "calc_distribution"),
    ):
        for column, quirk in ((first, "missing_first_label"), (second, "missing_second_label")):
            missing = lesions.loc[kind, column].isna()
            assert missing.any() and (missing == cases.loc[kind, quirk]).all()
            assert lesions.loc[~kind, column].isna().all()
    assert (lesions["subtlety"].isna() == cases["zero_subtlety"]).all()
    assert cases["zero_subtlety"].any()
    assert (lesions["density"].isna() == (cases["density_written"] == 0)).all()
    assert lesions["density"].isna().any()
    assert ((lesions["assessment"] == 0) == cases["zero_assessment"]).all()
    assert cases["zero_assessment"].any()


def test_written_labels_come_out_as_drawn(lesions, cases):
    mass = cases["kind"] == "mass"
    for kind, columns in (
        (mass, ["mass_shape", "mass_margins"]),
        (~mass, ["calc_type", "calc_distribution"]),
    ):
        for column, drawn in zip(columns, ["first", "second"], strict=True):
            labels = lesions.loc[kind, column].dropna()
            truth = cases.loc[labels.index, drawn].str.replace("LUCENT_CENTERED", "LUCENT_CENTER")
            expected = [sorted(text.split("-")) for text in truth]
            expected = [
                sorted("LUCENT_CENTERED" if n == "LUCENT_CENTER" else n for n in names)
                for names in expected
            ]
            assert labels.tolist() == expected
            assert labels.map(len).max() > 1


def test_ingesting_twice_gives_the_same(ingested, raw_root):
    again = make_source("phantom").ingest(raw_root)
    pd.testing.assert_frame_equal(again.lesions, ingested.lesions)
    pd.testing.assert_frame_equal(again.audit, ingested.audit)
    pd.testing.assert_frame_equal(validate_lesions(ingested.lesions), ingested.lesions)


@pytest.fixture(scope="module")
def tiny_lesions(tiny_phantom):
    return CbisDdsmSource().ingest(tiny_phantom).lesions


@pytest.fixture
def copy(tiny_phantom, tiny_lesions, tmp_path):
    """A small phantom that may be damaged, and its lesions."""
    shutil.copytree(tiny_phantom, tmp_path / "raw")
    return tmp_path / "raw", tiny_lesions


def left_out(ingested) -> dict[str, str]:
    """Code by lesion, having checked that every lesion that is left out has exactly one row."""
    rows = ingested.audit.query("action == 'left out' and lesion_id != ''")
    assert rows["lesion_id"].is_unique
    assert not set(rows["lesion_id"]) & set(ingested.lesions["lesion_id"])
    assert all(explain_code(code) for code in rows["code"])
    return dict(zip(rows["lesion_id"], rows["code"], strict=True))


def of_image(lesions, position):
    path = lesions["image_path"].iloc[position]
    return path, set(lesions.loc[lesions["image_path"] == path, "lesion_id"])


@pytest.mark.parametrize(
    ("content", "words"),
    [(None, "is the download complete"), (b"an error page" * 50, "not_dicom|unreadable")],
)
def test_a_missing_or_broken_image_leaves_out_its_lesions_with_one_row_each(copy, content, words):
    raw_root, lesions = copy
    path, hit = of_image(lesions, 0)
    (raw_root / path).unlink()
    if content:
        (raw_root / path).write_bytes(content)
    result = CbisDdsmSource().ingest(raw_root)
    assert left_out(result) == dict.fromkeys(hit, "image_missing")
    assert len(result.lesions) == len(lesions) - len(hit)
    details = result.audit.query("code == 'image_missing'")["detail"]
    assert details.str.contains(words, regex=True).all()


def test_a_missing_mask_leaves_out_its_lesion_alone(copy):
    raw_root, lesions = copy
    row = lesions.iloc[5]
    (raw_root / row["mask_paths"][0]).unlink()
    result = CbisDdsmSource().ingest(raw_root)
    assert left_out(result) == {row["lesion_id"]: "mask_missing"}
    assert len(result.lesions) == len(lesions) - 1


def test_views_with_a_lesion_left_out_give_no_backgrounds(copy):
    raw_root, lesions = copy
    images = lesions.groupby("image_id")["lesion_id"].transform("size")
    row = lesions[images > 1].iloc[0]
    (raw_root / row["mask_paths"][0]).unlink()
    rest = CbisDdsmSource().ingest(raw_root).lesions
    view = ["patient_id", "laterality", "view"]
    same = (rest[view] == row[view]).all(axis=1)
    assert same.any() and rest["unplaced_lesion"].tolist() == same.tolist()
    tasks = plan_crops(rest, raw_root, CropConfig(image_size=64, context=1.0)).tasks
    reasons = {task.image_id: task.no_backgrounds for task in tasks}
    assert "no known place" in reasons[row["image_id"]]


def test_views_under_two_uids_give_no_backgrounds(lesions, raw_root):
    tasks = plan_crops(
        lesions.reset_index(), raw_root, CropConfig(image_size=64, context=1.0)
    ).tasks
    uids = lesions.groupby(["patient_id", "laterality", "view"])["image_id"].transform("nunique")
    assert not lesions["unplaced_lesion"].any()
    assert (
        {task.image_id for task in tasks if task.no_backgrounds}
        == set(lesions.loc[uids > 1, "image_id"])
        != set()
    )


def test_a_file_of_no_series_is_in_the_audit(copy):
    raw_root, lesions = copy
    for name in ("part.zip", "part.tgz", "part.nii"):
        (raw_root / "CBIS-DDSM" / name).write_bytes(b"PK")
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(raw_root / "stray.png")
    result = CbisDdsmSource().ingest(raw_root)
    stray = result.audit.query("lesion_id == ''")
    assert dict(zip(stray["file"], stray["code"], strict=True)) == {
        "CBIS-DDSM/part.nii": "other_file",
        "CBIS-DDSM/part.tgz": "archive",
        "CBIS-DDSM/part.zip": "archive",
        "stray.png": "no_series_uid",
    }
    assert len(result.lesions) == len(lesions)


@pytest.mark.parametrize(
    ("column", "value", "code", "words"),
    [
        ("image file path", "Mess/1.2/1.3/1.dcm", "path_malformed", "folder 'Mess'"),
        ("patient_id", "", "patient_differs", "of patient '', its paths are of Mass-Training_P_"),
        ("patient_id", "P_99999", "patient_differs", "of patient 'P_99999', its paths are of"),
    ],
)
def test_a_row_with_a_malformed_path_or_of_another_patient_is_left_out(
    copy, column, value, code, words
):
    raw_root, lesions = copy
    path = raw_root / "csv" / "mass_case_description_train_set.csv"
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    table.loc[0, column] = value
    table.to_csv(path, index=False)
    result = CbisDdsmSource().ingest(raw_root)
    assert list(left_out(result).values()) == [code]
    assert words in result.audit.query("code == @code")["detail"].iloc[0]
    assert len(result.lesions) == len(lesions) - 1


def test_tables_with_backslashes_give_the_same_lesions(copy):
    raw_root, lesions = copy
    for path in (raw_root / "csv").glob("*.csv"):
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
        for name in ("image file path", "cropped image file path", "ROI mask file path"):
            table[name] = table[name].str.replace("/", "\\")
        table.to_csv(path, index=False)
    pd.testing.assert_frame_equal(CbisDdsmSource().ingest(raw_root).lesions, lesions)


def test_a_broken_off_copy_beside_the_whole_one_costs_no_lesion(copy):
    raw_root, lesions = copy
    path, hit = of_image(lesions, 0)
    first = raw_root / path
    whole = raw_root / "zz" / first.parent.name / first.name
    whole.parent.mkdir(parents=True)
    shutil.copy(first, whole)
    first.write_bytes(first.read_bytes()[: first.stat().st_size // 2])
    result = CbisDdsmSource().ingest(raw_root)
    found = result.lesions.set_index("lesion_id")["image_path"]
    assert set(found[sorted(hit)]) == {whole.relative_to(raw_root).as_posix()}
    reported = result.audit.query("code == 'differing_copies'")
    assert set(reported["lesion_id"]) == hit and not left_out(result)
    assert reported["detail"].str.contains(f"zz/{first.parent.name}/{first.name}").all()


def test_a_mask_of_another_shape_is_left_out_within_the_tolerance_given(copy):
    raw_root, lesions = copy
    row = lesions[lesions["repairs"].map(len) == 0].iloc[0]
    path = raw_root / row["mask_paths"][0]
    for other in path.parent.iterdir():
        if other != path:
            other.unlink()
    stem = path.with_suffix(".png")
    path.unlink()
    shape = (row["image_rows"] - round(0.04 * row["image_rows"]), row["image_columns"])
    pixels = np.zeros(shape, np.uint8)
    pixels[100:140, 60:90] = 255
    Image.fromarray(pixels).save(stem)
    strict = CbisDdsmSource(aspect_tolerance=0.01).ingest(raw_root)
    assert left_out(strict) == {row["lesion_id"]: "mask_aspect_differs"}
    loose = CbisDdsmSource(aspect_tolerance=0.1).ingest(raw_root)
    assert not left_out(loose) and len(loose.lesions) == len(lesions)
    repaired = loose.lesions.set_index("lesion_id").loc[row["lesion_id"]]
    assert "mask_resized" in repaired["repairs"]


@pytest.mark.parametrize("bits", [8, 16])
def test_pictures_have_the_bits_of_their_pixels(copy, bits):
    raw_root, lesions = copy
    path, hit = of_image(lesions, 0)
    pixels = read_image(raw_root / path).pixels
    (raw_root / path).unlink()
    picture = pixels if bits == 16 else (pixels >> 8).astype(np.uint8)
    Image.fromarray(picture).save((raw_root / path).with_suffix(".png"))
    found = CbisDdsmSource().ingest(raw_root).lesions.set_index("lesion_id")
    assert (found.loc[sorted(hit), "source_bits"] == bits).all()


def test_a_folder_without_images_says_what_may_be_wrong(copy):
    raw_root, lesions = copy
    for path in set(lesions["image_path"]):
        (raw_root / path).unlink()
    reasons = r"none of the .* lesions has both .*: \d+ x image_missing, such as: no file of series"
    with pytest.raises(MiramError, match=reasons):
        CbisDdsmSource().ingest(raw_root)
    shutil.rmtree(raw_root / "CBIS-DDSM")
    with pytest.raises(MiramError, match=r"no image file under .*is the download complete"):
        CbisDdsmSource().ingest(raw_root)


def test_the_real_kaggle_files_are_found(shared_data):
    root = shared_data / "cbis_ddsm"
    known = pd.read_csv(root / "lesions" / "manifest.csv").query("in_kaggle_layout_subset")
    result = CbisDdsmSource().ingest(root)
    merged = known.merge(result.lesions, on="lesion_id", suffixes=("_known", ""))
    assert len(merged) == len(known) == len(result.lesions) == 60
    assert (merged["image_path"] == merged["full_jpeg"]).all()
    assert merged["mask_paths"].tolist() == [[path] for path in merged["mask_jpeg"]]
    assert (merged["image_rows"] == merged["full_h"]).all()
    assert (merged["source_bits"] == 8).all() and result.lesions["image_id"].nunique() == 49
    differ = merged["match"] == "mask_size_differs_same_aspect"
    resized = merged["repairs"].map(lambda repairs: "mask_resized" in repairs)
    assert differ.any() and (differ == resized).all()
    assert len(left_out(result)) == 3568 - 60
