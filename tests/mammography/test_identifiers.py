import gzip
import json
import zipfile

import numpy as np
import pandas as pd
import pytest
from dicom_files import write_dicom
from forty_patients import lesions_of_40_patients

from miram.mammography.identifiers import (
    identifiers_of_files,
    identifiers_of_tables,
    search,
    searchable,
)
from miram.mammography.pseudonyms import pseudonymize


def found(folder, *names):
    return {(one.file, one.identifier) for _, several in search(folder, names) for one in several}


def write_parquet(path):
    pd.DataFrame({"case": ["Müller-7"], "size": [1.5]}).to_parquet(path)


def write_archive(path):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("inside.json.gz", gzip.compress(json.dumps(["Müller-7"]).encode()))


WRITERS = {
    "plain text": lambda path: path.write_text("case,score\nMüller-7,0.5\n"),
    "json": lambda path: path.write_text(json.dumps({"case": "Müller-7"})),
    "an address": lambda path: path.write_text("file:///films/M%C3%BCller-7.dcm"),
    "parquet": write_parquet,
    "metadata of parquet": lambda path: pd.DataFrame({"Müller-7": [1.0]}).to_parquet(path),
    "an array of text": lambda path: np.save(path.open("wb"), np.array(["Müller-7", "a"])),
    "gzip": lambda path: path.write_bytes(gzip.compress("Müller-7".encode() * 9)),
    "an archive in an archive": write_archive,
    "far into a file": lambda path: path.write_bytes(b"x" * (2**24 - 3) + "Müller-7".encode()),
}


@pytest.mark.parametrize("kind", WRITERS)
def test_a_name_is_found_however_it_is_written(tmp_path, kind):
    (tmp_path / "deep").mkdir()
    WRITERS[kind](tmp_path / "deep/file")
    assert found(tmp_path, "Müller-7", "Meier-8") == {("deep/file", "Müller-7")}


def test_names_of_files_and_folders_are_searched_as_well(tmp_path):
    (tmp_path / "of Okonkwo").mkdir()
    (tmp_path / "of Okonkwo/empty.txt").touch()
    assert found(tmp_path, "Okonkwo") == {("of Okonkwo/empty.txt", "Okonkwo")}


def test_where_names_belong_they_are_not_sought(tmp_path):
    for folder in ("01_raw", "02_intermediate", "06_models/02_intermediate"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "table.csv").write_text("Okonkwo")
    assert found(tmp_path, "Okonkwo") == {("06_models/02_intermediate/table.csv", "Okonkwo")}


def test_several_studies_are_searched_each_without_where_its_names_belong(tmp_path):
    for folder in ("02_intermediate", "08_reporting"):
        (tmp_path / "lab" / folder).mkdir(parents=True)
        (tmp_path / "lab" / folder / "lesions.parquet").write_text("Okonkwo")
    assert found(tmp_path, "Okonkwo") == {("lab/08_reporting/lesions.parquet", "Okonkwo")}


def test_a_number_within_a_longer_number_is_no_identifier(tmp_path):
    (tmp_path / "a.txt").write_text("0.7704117\n7704117770411\n")
    (tmp_path / "b.txt").write_text("KH770411_2\n")
    assert found(tmp_path, "770411") == {("b.txt", "770411")}


def test_each_occurrence_counts_once(tmp_path):
    (tmp_path / "a.txt").write_text("Okonkwo and Okonkwo")
    ((_, (one,)),) = search(tmp_path, ["Okonkwo"])
    assert one.times == 2


@pytest.mark.parametrize("hidden", [True, False])
def test_tables_of_a_study_give_own_names_and_no_pseudonyms(tmp_path, hidden):
    lesions = lesions_of_40_patients()
    lesions["image_path"] = "Films/" + lesions["image_id"] + "_doe.dcm"
    if hidden:
        lesions, identities = pseudonymize(lesions, b"k" * 16)
        identities.to_parquet(tmp_path / "identities.parquet")
    lesions.to_parquet(tmp_path / "lesions.parquet")
    (tmp_path / "ingest_audit.csv").write_text("lesion_id,file\nlost_1,Films/lost.dcm\n")
    names = identifiers_of_tables(tmp_path)
    expected = {"P_0", "P_0_0", "Films/0_doe.dcm", "0_doe.dcm", "0_doe", "Films", "lost", "lost_1"}
    assert expected <= names
    assert not [name for name in names if name.startswith(("patient-", "lesion-", "file-"))]


def test_headers_give_names_dates_and_numbers(tmp_path):
    given = {"PatientName": "Okonkwo^Adaeze", "PatientID": "KH7041", "StudyDate": "20190317"}
    given |= {"AccessionNumber": "A-88", "OtherPatientNames": "Obi", "Manufacturer": "Hologic"}
    write_dicom(tmp_path / "Lab/Films/a.dcm", SOPInstanceUID="1.2.77", **given)
    (tmp_path / "Lab/table.csv").write_text("case")
    names = identifiers_of_files(tmp_path / "Lab")
    assert {"Okonkwo^Adaeze", "Okonkwo", "Adaeze", "Obi", "KH7041", "A-88", "1.2.77"} <= names
    assert {"20190317", "2019-03-17", "Lab", "Films", "a.dcm", "table.csv"} <= names
    assert "Hologic" not in names


def test_words_that_stand_everywhere_are_not_searched_for():
    assert searchable(["KH7041", "L_CC", "images", "patient"]) == {"KH7041"}
