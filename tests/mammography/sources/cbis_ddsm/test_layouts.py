"""Files of a series are found in every layout, whatever the numbers in their names."""

import os
import pickle
import shutil

import numpy as np
import pytest
from dicom_files import write_dicom
from PIL import Image

from miram.errors import MiramError
from miram.mammography.sources.cbis_ddsm.layouts import image_key, index_series

ROOT = "1.3.6.1.4.1.9590.100.1.2."
SERIES = [f"{ROOT}{number}" for number in (111194682, 222294683, 333394684)]
STUDY = f"{ROOT}99909081"
DESCRIPTIVE = "Mass-Test_P_00016_LEFT_CC_1/08-30-2017-DDSM-NA-09081"


def write_file(path, series, bits=16, seed=0, **values):
    pixels = np.full((6, 4), seed, f"u{bits // 8}")
    uids = {"SOPInstanceUID": f"{series}.{bits}.{seed}", "SeriesInstanceUID": series}
    return write_dicom(path, pixels, **{**uids, **values})


def write_jpeg(path, level=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((6, 4), level, np.uint8)).save(path)
    return path


def classic(root, series, names=("000000.dcm", "000001.dcm")):
    folder = root / "Mass-Test_P_00016_LEFT_CC_1" / STUDY / series
    return [write_file(folder / name, series, seed=i) for i, name in enumerate(names)]


def descriptive(root, series, number=1):
    folder = root / DESCRIPTIVE / f"{number}.000000-cropped images-{series[-5:]}"
    return [write_file(folder / f"1-{i}.dcm", series, seed=i) for i in (1, 2)]


def tcia_utils(root, series):
    return [write_file(root / series / f"1-{i}.dcm", series, seed=i) for i in (1, 2)]


def kaggle(root, series):
    return [write_jpeg(root / "jpeg" / series / name) for name in ("1-172.jpg", "2-204.jpg")]


LAYOUTS = (classic, descriptive, tcia_utils, kaggle)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_each_layout_gives_the_files_of_its_series(tmp_path, layout):
    expected = {series: tuple(layout(tmp_path, series)) for series in SERIES}
    index = index_series(tmp_path)
    assert index.files == expected
    assert index.unplaced == ()


def test_layouts_may_be_mixed_under_one_root(tmp_path):
    series = [f"{ROOT}{i}55501" for i in range(1, 5)]
    made = [tuple(layout(tmp_path / f"part {i}", series[i])) for i, layout in enumerate(LAYOUTS)]
    index = index_series(tmp_path)
    assert [index.files[one] for one in series] == made


def test_the_index_is_the_same_every_time_and_can_go_to_a_worker(tmp_path):
    for series in SERIES[::-1]:
        classic(tmp_path, series)
        kaggle(tmp_path, f"{series}7")
    first = index_series(tmp_path)
    assert first == index_series(tmp_path) == pickle.loads(pickle.dumps(first))
    assert list(first.files) == sorted(first.files)


@pytest.mark.parametrize("slash", ["/", "\\"])
def test_the_retriever_table_places_files_without_opening_them(tmp_path, slash):
    files = descriptive(tmp_path / "CBIS-DDSM", SERIES[0])
    for file in files:
        file.write_bytes(b"not opened")
    folder = files[0].parent.relative_to(tmp_path).as_posix().replace("/", slash)
    table = f"Series UID,Collection,File Location\n{SERIES[0]},CBIS-DDSM,.{slash}{folder}\n"
    (tmp_path / "metadata.csv").write_text(table)
    index = index_series(tmp_path)
    assert index.files[SERIES[0]] == tuple(files)


def test_two_series_in_one_descriptive_folder_are_distinguished_by_their_headers(tmp_path):
    twins = [f"{ROOT}1{SERIES[0][-5:]}", f"{ROOT}2{SERIES[0][-5:]}"]
    folder = tmp_path / DESCRIPTIVE / f"1.000000-cropped images-{SERIES[0][-5:]}"
    files = [write_file(folder / f"1-{i}.dcm", uid) for i, uid in enumerate(twins)]
    location = folder.relative_to(tmp_path).as_posix()
    rows = "".join(f"{uid},./{location}\n" for uid in twins)
    (tmp_path / "metadata.csv").write_text("Series UID,File Location\n" + rows)
    index = index_series(tmp_path)
    assert [index.files[uid] for uid in twins] == [(files[0],), (files[1],)]


@pytest.mark.parametrize(
    ("content", "codes"),
    [
        ("name,value\na,1\n", []),  # of another program
        ("", ["table_unreadable"]),
        ("a,b\n1,2\n1,2,3,4\n", ["table_unreadable"]),
    ],
)
def test_a_metadata_table_that_cannot_be_read_is_reported_and_does_no_harm(
    tmp_path, content, codes
):
    (tmp_path / "metadata.csv").write_text(content)
    files = descriptive(tmp_path, SERIES[0])
    index = index_series(tmp_path)
    assert index.files[SERIES[0]] == tuple(files)
    assert [file.code for file in index.unplaced] == codes


@pytest.mark.parametrize("name", ["notes", "IM0001", "image.dcm"])
def test_a_file_that_cannot_be_opened_is_reported_and_does_no_harm(tmp_path, name):
    files = tcia_utils(tmp_path, SERIES[0])
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / name).symlink_to(tmp_path / "gone")
    (tmp_path / "b" / SERIES[0]).mkdir(parents=True)
    dead = tmp_path / "b" / SERIES[0] / "dead.dcm"
    dead.symlink_to(tmp_path / "gone")
    index = index_series(tmp_path)
    assert set(index.files[SERIES[0]]) == {*files, dead}
    (unread,) = index.unplaced
    assert unread.path.name == name and unread.code in ("unreadable", "not_found")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every folder")
def test_a_folder_that_cannot_be_read_is_named_with_what_to_do(tmp_path):
    files = tcia_utils(tmp_path, SERIES[0])
    files[0].parent.chmod(0)
    try:
        with pytest.raises(MiramError, match=r"cannot read .*mend its access rights"):
            index_series(tmp_path)
    finally:
        files[0].parent.chmod(0o755)


def test_files_that_cannot_be_placed_are_listed_with_their_reason(tmp_path):
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "broken.dcm").write_bytes(b"nonsense" * 50)
    (tmp_path / "x" / "empty.dcm").touch()
    write_file(tmp_path / "x" / "nameless.dcm", "1.2", SeriesInstanceUID="")
    write_jpeg(tmp_path / "x" / "photo.jpg")
    (tmp_path / f"{SERIES[0]}.zip").write_bytes(b"PK")
    (tmp_path / "LICENSE").write_text("text")
    (tmp_path / "notes.txt").write_text("text")
    index = index_series(tmp_path)
    assert not index.files
    assert {(file.path.name, file.code) for file in index.unplaced} == {
        ("broken.dcm", "not_dicom"),
        ("empty.dcm", "empty"),
        ("nameless.dcm", "no_series_uid"),
        ("photo.jpg", "no_series_uid"),
        (f"{SERIES[0]}.zip", "archive"),
    }
    assert all(file.detail for file in index.unplaced)


def test_dicom_files_without_a_suffix_are_found(tmp_path):
    file = write_file(tmp_path / "export" / "IM0001", SERIES[0])
    numbered = write_file(tmp_path / "export" / f"{SERIES[1]}.1", SERIES[1])
    index = index_series(tmp_path)
    assert index.files[SERIES[0]] == (file,)
    assert index.files[SERIES[1]] == (numbered,)


def test_a_series_held_twice_counts_once_and_says_so(tmp_path):
    first = classic(tmp_path / "a", SERIES[0])
    copies = [tmp_path / "b" / SERIES[0] / f"1-{i}.dcm" for i in (1, 2)]
    for file, copy in zip(first, copies, strict=True):
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, copy)
    pictures = kaggle(tmp_path / "c", SERIES[0])
    index = index_series(tmp_path)
    assert index.files[SERIES[0]] == tuple(first)
    assert {file.path for file in index.unplaced} == {*copies, *pictures}
    assert {file.code for file in index.unplaced} == {"duplicate"}


def test_equal_files_in_one_folder_both_count(tmp_path):
    files = [write_file(tmp_path / SERIES[0] / f"{i}.dcm", SERIES[0]) for i in (1, 2)]
    assert index_series(tmp_path).files[SERIES[0]] == tuple(files)


def test_kaggles_table_describes_its_files(tmp_path):
    files = kaggle(tmp_path, SERIES[0])
    (tmp_path / "csv").mkdir()
    table = "image_path,SeriesInstanceUID,SeriesDescription,BitsAllocated,Rows,Columns,PatientID\n"
    table += f"CBIS-DDSM/jpeg/{SERIES[0]}/{files[0].name},{SERIES[0]},cropped images,16,30,20,A_1\n"
    table += f"CBIS-DDSM/jpeg/{SERIES[0]}/{files[1].name},{SERIES[0]},,,,,\n"
    (tmp_path / "csv" / "dicom_info.csv").write_text(table)
    index = index_series(tmp_path)
    described, blank = (index.infos[image_key(file)] for file in files)
    assert (described.description, described.bits_allocated) == ("cropped images", 16)
    assert described.patient_id == "A_1"
    assert (blank.description, blank.bits_allocated) == ("", 0)


@pytest.mark.parametrize("bits", ["sixteen", "3e", "inf"])
def test_a_bad_number_in_kaggles_table_is_named_with_its_place(tmp_path, bits):
    files = kaggle(tmp_path, SERIES[0])
    row = f"CBIS-DDSM/jpeg/{SERIES[0]}/{files[0].name}"
    table = f"image_path,BitsAllocated\n{row},16\n{row},{bits}\n"
    (tmp_path / "dicom_info.csv").write_text(table)
    with pytest.raises(MiramError, match=r"dicom_info\.csv: .* row 2 below .* no whole number"):
        index_series(tmp_path)


def test_a_missing_folder_and_a_foreign_table_say_what_to_do(tmp_path):
    with pytest.raises(MiramError, match="no folder"):
        index_series(tmp_path / "none")
    (tmp_path / "dicom_info.csv").write_text("a,b\n1,2\n")
    with pytest.raises(MiramError, match="image_path"):
        index_series(tmp_path)
