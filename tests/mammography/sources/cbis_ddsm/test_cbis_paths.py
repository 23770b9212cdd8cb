"""Path cells of the case descriptions come apart and together again."""

import csv

import pytest
from hypothesis import given
from hypothesis import strategies as st
from project_paths import SHARED_DATA

from miram.errors import MiramError
from miram.mammography.decoding.headers import is_uid
from miram.mammography.sources.cbis_ddsm.case_tables import CbisPath, parse_cbis_path
from miram.mammography.sources.cbis_ddsm.file_roles import names_abnormality

TABLES = SHARED_DATA / "cbis_ddsm" / "csv"
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


def test_folder_names_of_headers_are_understood():
    assert names_abnormality("P_00562_LEFT_CC_2.dcm") is True
    assert names_abnormality("Mass-Training_P_01754_RIGHT_CC") is False
    for foreign in ("patient 7", "", "DDSM", "Mass-Training_P_01754_RIGHT_CC_old"):
        assert names_abnormality(foreign) is None


def test_uids_have_no_leading_zeros_and_64_characters_at_most():
    assert is_uid("1.2.840.0") and is_uid("1." + "2" * 62)
    assert not any(is_uid(text) for text in ("", "1", "1.", ".1", "1..2", "1.02", "1." + "2" * 63))


@pytest.mark.skipif(not TABLES.is_dir(), reason=f"the case descriptions are not at {TABLES}")
def test_every_path_of_the_four_real_tables_parses():
    cells = 0
    for table in sorted(TABLES.glob("*_case_description_*.csv")):
        with table.open(newline="") as file:
            for row in csv.DictReader(file):
                for column, cell in row.items():
                    if not column.endswith("file path"):
                        continue
                    path = parse_cbis_path(cell)
                    assert path.patient_id == row["patient_id"]
                    assert path.folder.lower().startswith(row["abnormality type"][:4])
                    number = "" if column == "image file path" else f"_{row['abnormality id']}"
                    assert path.folder.endswith(f"{row['image view']}{number}")
                    cells += 1
    assert cells == 3 * (1318 + 378 + 1546 + 326)
