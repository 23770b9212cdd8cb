"""The four case-description tables: every count that was made on the real ones."""

import shutil

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from miram.errors import MiramError
from miram.mammography.decoding.headers import is_uid
from miram.mammography.lesion_table import leaking_patients
from miram.mammography.sources.cbis_ddsm.case_tables import (
    CASE_DESCRIPTIONS,
    CbisPath,
    find_case_descriptions,
    parse_cbis_path,
    read_case_descriptions,
)
from miram.mammography.sources.cbis_ddsm.file_roles import names_abnormality

PATHS = ("image_cell", "crop_cell", "mask_cell")
LEAKING = """
    00016 00041 00159 00394 00495 00510 00591 00601 00639 00652 00678 00723 00753 00882 00906 00924
    00969 01108 01152 01179 01237 01307 01365 01467 01566 01605 01621 01635 01741 01803 01883
"""
# rows, patients, images, benign, malignant, benign without callback
COUNTS = {
    ("mass", "train"): (1318, 691, 1231, 577, 637, 104),
    ("mass", "test"): (378, 201, 361, 194, 147, 37),
    ("calcification", "train"): (1546, 602, 1227, 528, 544, 474),
    ("calcification", "test"): (326, 151, 284, 130, 129, 67),
}
# rows whose crop and mask are of another file number than the rest of their table
ODD_NUMBERS = {
    ("mass", "train"): ("mask", "000001.dcm", 92),
    ("mass", "test"): ("mask", "000001.dcm", 11),
    ("calcification", "train"): ("crop", "000001.dcm", 1),
    ("calcification", "test"): ("crop", "000001.dcm", 0),
}


@pytest.fixture(scope="module")
def lesions(shared_data):
    table = read_case_descriptions(shared_data / "cbis_ddsm")
    series = {cell: [parse_cbis_path(text) for text in table[cell]] for cell in PATHS}
    return table.assign(
        **{f"{cell[:5].rstrip('_')}_uid": [p.series_uid for p in series[cell]] for cell in PATHS},
        **{f"{cell[:4]}_file": [p.file_name for p in series[cell]] for cell in PATHS},
    )


def part(lesions, key):
    kind, split = key
    return lesions[(lesions["abnormality_type"] == kind) & (lesions["official_split"] == split)]


def test_the_data_set_has_the_known_size(lesions):
    assert len(lesions) == 3568 and lesions["lesion_id"].is_unique
    assert lesions["patient_id"].nunique() == 1566
    assert lesions["image_uid"].nunique() == 3103
    uids = pd.concat([lesions["image_uid"], lesions["crop_uid"], lesions["mask_uid"]])
    assert uids.nunique() == 6775


@pytest.mark.parametrize("key", CASE_DESCRIPTIONS)
def test_every_table_has_the_known_counts(lesions, key):
    table = part(lesions, key)
    pathology = table["pathology"].value_counts()
    assert COUNTS[key] == (
        len(table),
        table["patient_id"].nunique(),
        table["image_uid"].nunique(),
        pathology["BENIGN"],
        pathology["MALIGNANT"],
        pathology["BENIGN_WITHOUT_CALLBACK"],
    )


@pytest.mark.parametrize("key", CASE_DESCRIPTIONS)
def test_crop_and_mask_have_the_known_file_numbers(lesions, key):
    table = part(lesions, key)
    column, usual, odd = ODD_NUMBERS[key]
    other = "crop" if column == "mask" else "mask"
    assert (table[f"{column}_file"] != usual).sum() == odd
    assert (table.loc[table[f"{column}_file"] != usual, f"{column}_file"] == "000000.dcm").all()
    assert (table[f"{other}_file"] == "000000.dcm").all()
    apart = table["crop_uid"] != table["mask_uid"]
    assert apart.sum() == odd and (apart == (table[f"{column}_file"] != usual)).all()


@pytest.mark.parametrize("key", CASE_DESCRIPTIONS)
def test_the_line_feed_inside_one_cell_of_every_row_is_gone(lesions, key, shared_data):
    path = shared_data / "cbis_ddsm" / "csv" / CASE_DESCRIPTIONS[key]
    raw = pd.read_csv(path, dtype=str, keep_default_na=False)
    column = "ROI mask file path" if key[0] == "mass" else "cropped image file path"
    assert raw[column].str.endswith("\n").all()
    table = part(lesions, key)
    for cell in PATHS:
        assert not table[cell].str.contains(r"\s", regex=True).any()


def test_31_patients_are_on_both_sides_of_the_official_split(lesions):
    expected = [f"P_{number}" for number in LEAKING.split()]
    assert len(expected) == 31 and leaking_patients(lesions) == expected
    assert set(lesions.loc[lesions["leaks"], "patient_id"]) == set(expected)


def test_29_views_are_on_both_sides_71_hold_both_types_and_19_images_both_pathologies(lesions):
    views = lesions.groupby(["patient_id", "laterality", "view"])
    assert (views["official_split"].nunique() == 2).sum() == 29
    assert (views["abnormality_type"].nunique() == 2).sum() == 71
    assert (views["image_uid"].nunique() == 2).sum() == 71
    assert (lesions.groupby("image_uid")["pathology"].nunique() > 1).sum() == 19


def test_missing_labels_are_missing(lesions):
    def missing(key, column):
        return int(part(lesions, key)[column].isna().sum())

    mass = [("mass", "train"), ("mass", "test")]
    calc = [("calcification", "train"), ("calcification", "test")]
    assert [missing(key, "mass_shape") for key in mass] == [4, 0]
    assert [missing(key, "mass_margins") for key in mass] == [43, 17]
    assert [missing(key, "calc_type") for key in calc] == [20, 4]
    assert [missing(key, "calc_distribution") for key in calc] == [376, 63]


def test_zero_is_missing_but_for_the_assessment(lesions):
    assert lesions["density"].isna().sum() == 2 and set(lesions["density"].dropna()) == {1, 2, 3, 4}
    assert lesions["subtlety"].isna().sum() == 2
    assert set(lesions["subtlety"].dropna()) == {1, 2, 3, 4, 5}
    assert (lesions["assessment"] == 0).sum() == 238 and lesions["assessment"].notna().all()


def test_hyphenated_labels_are_several_labels(lesions, shared_data):
    classes = {"mass_shape": 8, "mass_margins": 5, "calc_type": 13, "calc_distribution": 5}
    for column, count in classes.items():
        assert lesions[column].dropna().explode().nunique() == count
    joined = lesions["mass_margins"].dropna().map(len)
    raw = pd.concat(
        pd.read_csv(shared_data / "cbis_ddsm" / "csv" / CASE_DESCRIPTIONS["mass", split])
        for split in ("train", "test")
    )["mass margins"]
    assert (joined > 1).sum() == raw.str.contains("-").sum()
    assert ["CIRCUMSCRIBED", "ILL_DEFINED"] in lesions["mass_margins"].dropna().tolist()


def test_two_spellings_of_lucent_center_are_one_label(lesions, shared_data):
    folder = shared_data / "cbis_ddsm" / "csv"
    raw = pd.concat(
        pd.read_csv(folder / CASE_DESCRIPTIONS["calcification", split], keep_default_na=False)
        for split in ("train", "test")
    )["calc type"]
    labels = raw.str.split("-").explode()
    assert (labels == "LUCENT_CENTERED").groupby(level=0).sum().gt(0).sum() > 0
    table = lesions["calc_type"].dropna()
    merged = table.map(lambda names: "LUCENT_CENTERED" in names)
    assert merged.sum() == raw.str.contains("LUCENT_CENTER").sum()
    assert not table.map(lambda names: "LUCENT_CENTER" in names).any()
    assert {(labels == name).sum() for name in ("LUCENT_CENTER", "LUCENT_CENTERED")} & {44}


def test_one_kind_alone_can_be_read(shared_data, tmp_path):
    name = CASE_DESCRIPTIONS["mass", "test"]
    shutil.copy(shared_data / "cbis_ddsm" / "csv" / name, tmp_path)
    assert len(read_case_descriptions(tmp_path)) == 378


def test_a_table_or_a_column_that_is_not_there_is_named(tmp_path):
    with pytest.raises(MiramError, match=r"put the four files .* into .*csv"):
        read_case_descriptions(tmp_path)
    path = tmp_path / CASE_DESCRIPTIONS["mass", "test"]
    path.write_text("patient_id,pathology\nP_00001,BENIGN\n")
    with pytest.raises(MiramError, match=r"has no column 'left or right breast' \(it has: "):
        read_case_descriptions(tmp_path)


@pytest.fixture
def one_table(tiny_phantom, tmp_path):
    """A folder with one case description, and the path of that."""
    path = tmp_path / "deep" / "down" / CASE_DESCRIPTIONS["mass", "train"]
    path.parent.mkdir(parents=True)
    path.write_bytes((tiny_phantom / "csv" / path.name).read_bytes())
    return tmp_path, path


def rewrite(path, column=None, value=None, separator=","):
    """Write a table again, perhaps with another value in its third row."""
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    if column:
        table.loc[2, column] = value
    table.to_csv(path, index=False, sep=separator)


def test_tables_are_found_at_any_depth(one_table):
    root, path = one_table
    assert find_case_descriptions(root) == {("mass", "train"): path}


def test_equal_copies_count_once_whatever_their_line_ends(one_table):
    root, path = one_table
    (root / "again").mkdir()
    copy = root / "again" / path.name
    copy.write_bytes(path.read_bytes().replace(b"\r\n", b"\n"))
    assert copy.read_bytes() != path.read_bytes()
    assert find_case_descriptions(root) == {("mass", "train"): copy}


def test_two_versions_of_a_table_are_refused_and_both_named(one_table):
    root, path = one_table
    older = root / "a_old" / path.name
    older.parent.mkdir()
    older.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:5]))
    with pytest.raises(MiramError, match="two versions") as caught:
        read_case_descriptions(root)
    assert str(path) in str(caught.value) and str(older) in str(caught.value)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("breast_density", "2.5"),
        ("assessment", "abc"),
        ("subtlety", "inf"),
        ("abnormality id", "1e300"),
    ],
)
def test_what_is_no_whole_number_is_named_with_file_column_and_row(one_table, column, value):
    root, path = one_table
    rewrite(path, column, value)
    words = f"'{value}' in the column '{column}', row 3 below the heading, is no whole number"
    with pytest.raises(MiramError) as caught:
        read_case_descriptions(root)
    assert words in str(caught.value) and str(path) in str(caught.value)


@pytest.mark.parametrize("value", ["", "N/A", " 3 ", "3.0"])
def test_missing_and_oddly_written_numbers_are_understood(one_table, value):
    root, path = one_table
    rewrite(path, "assessment", value)
    found = read_case_descriptions(root)["assessment"].iloc[2]
    assert found == 3 if "3" in value else pd.isna(found)


def test_cells_that_a_row_lacks_are_empty(one_table):
    root, path = one_table
    with path.open("a") as file:
        file.write("P_00001\n")
    last = read_case_descriptions(root).iloc[-1]
    assert (last["patient_id"], last["image_cell"], last["mass_shape"]) == ("P_00001", "", None)
    assert last["lesion_id"] == "Mass-Training_P_00001___"


@pytest.mark.parametrize(
    "damage", ["semicolons", "empty", "ragged", "long", "latin-1", "a dead link"]
)
def test_a_table_that_cannot_be_read_is_named_with_what_to_do(one_table, damage):
    root, path = one_table
    if damage == "semicolons":
        rewrite(path, separator=";")
    elif damage == "a dead link":
        path.unlink()
        path.symlink_to(root / "gone")
    else:
        content = {"empty": b"", "ragged": b"a,b\n1,2\n1,2,3\n", "latin-1": b"a,b\nM\xfcller,1\n"}
        content["long"] = b"a,b\n1,2,3\n"
        path.write_bytes(content[damage])
    with pytest.raises(MiramError, match="with commas between cells") as caught:
        read_case_descriptions(root)
    assert str(path) in str(caught.value)


UIDS = st.from_regex(r"1\.3(\.(0|[1-9][0-9]{0,12})){1,4}", fullmatch=True)
PATIENTS = st.from_regex(r"P_[0-9]{5}", fullmatch=True)
VIEWS = st.sampled_from(["LEFT_CC", "RIGHT_CC", "LEFT_MLO", "RIGHT_MLO"])
NUMBERS = st.none() | st.integers(1, 99)
FILES = st.from_regex(r"[0-9]{6}\.dcm", fullmatch=True)


@given(PATIENTS, VIEWS, NUMBERS, UIDS, UIDS, FILES, st.sampled_from(["", "\n", "\r\n", " \n"]))
def test_the_parts_of_a_path_are_found(patient, view, number, study, series, name, ending):
    suffix = "" if number is None else f"_{number}"
    folder = f"Calc-Training_{patient}_{view}{suffix}"
    path = parse_cbis_path(f"{folder}/{study}/{series}/{name}{ending}")
    assert path == CbisPath(folder, patient, series, name)
    assert names_abnormality(folder) is (number is not None)


@given(st.text(max_size=80) | st.text("/._-0123456789MassTestP", max_size=80))
def test_any_other_text_is_refused_by_name(text):
    with pytest.raises(MiramError, match="expected <Mass"):
        parse_cbis_path(text)


GOOD = "Mass-Test_P_00016_LEFT_CC_1/1.3.6/1.3.7/000001.dcm"


@pytest.mark.parametrize(
    ("old", "new", "part"),
    [
        ("Mass", "Mess", "folder"),
        ("P_00016", "P_0016", "folder"),
        ("LEFT", "left", "folder"),
        ("_1/", "_0/", "folder"),
        ("1.3.6", "1.03.6", "study UID"),
        ("1.3.7", "abc", "series UID"),
        ("1.3.7", "1." + "3" * 64, "series UID"),
        ("000001.dcm", "000001.jpg", "file name"),
        ("/1.3.6", "", "3 parts"),
    ],
)
def test_the_error_names_the_malformed_part(old, new, part):
    assert parse_cbis_path(GOOD).file_name == "000001.dcm"
    with pytest.raises(MiramError, match=part):
        parse_cbis_path(GOOD.replace(old, new, 1))


def test_a_path_may_have_the_backslashes_of_windows():
    assert parse_cbis_path(GOOD.replace("/", "\\")) == parse_cbis_path(GOOD)


def test_folder_names_of_headers_are_understood():
    assert names_abnormality("P_00562_LEFT_CC_2.dcm") is True
    assert names_abnormality("Mass-Training_P_01754_RIGHT_CC") is False
    for foreign in ("patient 7", "", "DDSM", "Mass-Training_P_01754_RIGHT_CC_old"):
        assert names_abnormality(foreign) is None


def test_uids_have_no_leading_zeros_and_64_characters_at_most():
    assert is_uid("1.2.840.0") and is_uid("1." + "2" * 62)
    assert not any(is_uid(text) for text in ("", "1", "1.", ".1", "1..2", "1.02", "1." + "2" * 63))


def test_every_path_cell_names_the_patient_the_view_and_the_abnormality_of_its_row(lesions):
    for row in lesions.to_dict("records"):
        for cell in PATHS:
            path = parse_cbis_path(row[cell])
            assert path.patient_id == row["patient_id"]
            assert path.folder.lower().startswith(row["abnormality_type"][:4])
            number = "" if cell == "image_cell" else f"_{row['abnormality_id']}"
            assert path.folder.endswith(f"{row['view']}{number}")
