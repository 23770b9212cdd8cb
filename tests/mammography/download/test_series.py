"""Zips of a series: what is unpacked, what is refused."""

import hashlib
import os
import tracemalloc
import zipfile

import pytest

from miram.mammography.download.series import HASHES, ArchiveError, matches_hashes, unpack_series

MD5_OF_ONE = hashlib.md5(b"one").hexdigest()


def zip_of(path, files, hashes=None, compression=zipfile.ZIP_STORED):
    hashes = hashes or {
        name: hashlib.md5(content).hexdigest()
        for name, content in files.items()
        if name.endswith(".dcm")
    }
    with zipfile.ZipFile(path, "w", compression) as package:
        for name, content in files.items():
            package.writestr(name, content)
        lines = ["Filename,MD5Hash", *(f"{name},{md5}" for name, md5 in hashes.items())]
        package.writestr(HASHES, "\n".join(lines))
    return path


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "series"
    made.mkdir()
    return made


def test_a_sound_zip_is_unpacked_and_matches_its_hashes(tmp_path, folder):
    archive = zip_of(tmp_path / "a.zip", {"1.dcm": b"one", "2.dcm": b"three", "LICENSE": b"x"})
    sizes = unpack_series(archive, folder, 2)
    assert (sizes["1.dcm"], sizes["2.dcm"], sizes["LICENSE"]) == (3, 5, 1)
    assert matches_hashes(folder, 2) == sizes
    assert matches_hashes(folder, 3) is None
    (folder / "3.dcm").write_bytes(b"a stranger")
    assert matches_hashes(folder, None) is None


@pytest.mark.parametrize(
    "name", ["../a.dcm", "/a.dcm", "..\\a.dcm", "C:a.dcm", "sub/a.dcm", ".hidden", "sub/"]
)
def test_names_that_lead_elsewhere_are_refused(tmp_path, folder, name):
    archive = zip_of(tmp_path / "a.zip", {"1.dcm": b"one", name: b""})
    with pytest.raises(ArchiveError, match="unsafe name"):
        unpack_series(archive, folder, None)
    assert list(folder.iterdir()) == []


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize(
    ("name", "attributes", "words"),
    [("2.dcm", 0o120777 << 16, "unsafe name"), ("1.dcm", 0, "twice")],
    ids=["a link", "a name that comes twice"],
)
def test_links_and_repeated_names_are_refused(tmp_path, folder, name, attributes, words):
    archive = zip_of(tmp_path / "a.zip", {"1.dcm": b"one"})
    member = zipfile.ZipInfo(name)
    member.external_attr = attributes
    with zipfile.ZipFile(archive, "a") as package:
        package.writestr(member, "/etc/passwd")
    with pytest.raises(ArchiveError, match=words):
        unpack_series(archive, folder, None)


@pytest.mark.parametrize(
    ("files", "hashes", "images", "words"),
    [
        ({"1.dcm": b"one"}, {"1.dcm": "f" * 32}, 1, "1.dcm has md5"),
        ({"1.dcm": b"one"}, {"1.dcm": ""}, 1, "1.dcm has md5"),
        ({"1.dcm": b"one"}, {"2.dcm": "f" * 32}, 1, "2.dcm is missing"),
        ({"1.dcm": b"one"}, None, 2, "1 images in the zip, 2 announced"),
        ({"LICENSE": b"x"}, {}, None, "no columns Filename"),
        ({"1.dcm": b"one", "2.dcm": b"two"}, {"1.dcm": MD5_OF_ONE}, 2, r"2\.dcm is not in"),
    ],
)
def test_what_differs_from_the_announcement_is_refused(
    tmp_path, folder, files, hashes, images, words
):
    with pytest.raises(ArchiveError, match=words):
        unpack_series(zip_of(tmp_path / "a.zip", files, hashes), folder, images)


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_zip_cut_or_changed_anywhere_is_refused(tmp_path, compression):
    files = {"1.dcm": bytes(range(256)) * 4, "2.dcm": b"two" * 100}
    whole = zip_of(tmp_path / "a.zip", files, compression=compression).read_bytes()
    broken = [whole[:length] for length in range(0, len(whole), 53)]
    start = whole.index(b"1.dcm") + 10  # within the first file's data
    broken += [
        whole[:at] + bytes([whole[at] ^ 255]) + whole[at + 1 :] for at in range(start, start + 40)
    ]
    for number, content in enumerate(broken):
        path, folder = tmp_path / "broken.zip", tmp_path / f"to{number}"
        path.write_bytes(content)
        folder.mkdir()
        with pytest.raises(ArchiveError):
            unpack_series(path, folder, 2)


def test_unpacking_holds_no_whole_file_in_memory(tmp_path, folder):
    length = 24 * 2**20
    archive = zip_of(tmp_path / "a.zip", {"1.dcm": os.urandom(length)})
    tracemalloc.start()
    try:
        unpack_series(archive, folder, 1)
        assert tracemalloc.get_traced_memory()[1] < length / 3
    finally:
        tracemalloc.stop()
