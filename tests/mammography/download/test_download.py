"""Downloads from an archive that breaks off, errs and lies."""

import hashlib
import io
import os
import shutil

import nbia_server
import numpy as np
import pytest
from dicom_files import dicom

from miram.errors import MiramError
from miram.mammography.download.fetch import RECORD, DownloadRecord, Progress, download_collection
from miram.mammography.download.plan import DownloadConfig
from miram.mammography.download.series import HASHES
from miram.mammography.sources.cbis_ddsm.layouts import index_series


@pytest.fixture
def archive():
    server = nbia_server.Archive()
    yield server
    server.close()


def config_of(archive, to, **options):
    return DownloadConfig(
        **{"to": to, "base_url": archive.url, "backoff": 0.0, "timeout": 5.0, **options}
    )


def fetch(archive, to, **options):
    return download_collection(config_of(archive, to, **options))


def assert_whole(archive, to, uids):
    """The folders hold exactly what the archive has, and nothing else looks finished."""
    for uid in uids:
        for name, content in archive.files[uid].items():
            assert (to / uid / name).read_bytes() == content
    assert {path.name for path in to.iterdir()} == {*uids, RECORD}


def test_a_collection_arrives_whole(archive, tmp_path):
    uids = [archive.add(n, images=1 + n % 3) for n in range(1, 6)]
    report = fetch(archive, tmp_path)
    assert (report.wanted, report.present, report.failed) == (5, 0, {})
    assert sorted(report.fetched) == sorted(uids)
    assert_whole(archive, tmp_path, uids)
    extra = sum(p.stat().st_size for p in tmp_path.glob(f"*/{HASHES}")) + 5 * len("CC BY 3.0")
    dicom = sum(len(c) for files in archive.files.values() for c in files.values())
    assert report.bytes_fetched == dicom + extra


def test_the_files_stand_in_a_layout_that_ingest_knows(archive, tmp_path):
    uids = [archive.add(n, images=2) for n in (1, 2)]
    fetch(archive, tmp_path)
    index = index_series(tmp_path)
    assert [len(index.files[uid]) for uid in uids] == [2, 2]
    assert index.unplaced == ()


@pytest.mark.parametrize(
    "fault",
    ["drop", 500, 503, 429, "truncated", "wrong hash", "no hashes", "one image less", "slip"],
)
def test_a_passing_fault_is_tried_again(archive, tmp_path, fault):
    uid = archive.add(1, images=3)
    archive.faults[uid] = [fault, fault]
    archive.list_faults = [500, 502]
    report = fetch(archive, tmp_path / "to", retries=2)
    assert report.fetched == [uid]
    assert archive.fetched() == [uid] * 3
    assert_whole(archive, tmp_path / "to", [uid])


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("drop", "broke off"),
        (500, "answers 500"),
        ("truncated", "broken"),
        ("wrong hash", "has md5"),
        ("no hashes", HASHES),
        ("one image less", "2 images in the zip, 3 announced"),
        ("slip", "unsafe name"),
    ],
)
def test_a_lasting_fault_costs_one_series_and_leaves_nothing(archive, tmp_path, fault, words):
    bad, good = archive.add(1, images=3), archive.add(2)
    archive.faults[bad] = [fault] * 10
    report = fetch(archive, tmp_path / "to", retries=1)
    assert report.fetched == [good]
    assert words in report.failed[bad]
    assert archive.fetched().count(bad) == 2
    assert_whole(archive, tmp_path / "to", [good])
    assert [path.name for path in tmp_path.iterdir()] == ["to"]


def test_what_the_server_refuses_for_good_is_not_asked_again(archive, tmp_path):
    uid, other = archive.add(1), archive.add(2)
    archive.faults[uid] = [404]
    report = fetch(archive, tmp_path, retries=5)
    assert "answers 404" in report.failed[uid]
    assert archive.fetched().count(uid) == 1
    assert_whole(archive, tmp_path, [other])


@pytest.mark.parametrize(("options", "least"), [({"timeout": 0.05, "retries": 3}, 2), ({}, 1)])
def test_a_slow_answer_is_waited_for_up_to_the_timeout_and_then_tried_again(
    archive, tmp_path, options, least
):
    uid = archive.add(1)
    archive.faults[uid] = ["slow"]
    assert fetch(archive, tmp_path, **{"retries": 0, **options}).fetched == [uid]
    assert len(archive.fetched()) >= least
    assert_whole(archive, tmp_path, [uid])


def test_a_missing_series_is_reported_and_the_others_come(archive, tmp_path):
    here = archive.add(1)
    gone = nbia_server.series_uid(99)
    report = fetch(archive, tmp_path / "to", manifest=manifest_of(tmp_path, [gone, here]))
    assert report.fetched == [here]
    assert "does not know this series" in report.failed[gone]
    assert_whole(archive, tmp_path / "to", [here])


def test_a_series_that_the_list_lacks_is_looked_up(archive, tmp_path):
    listed, unlisted = archive.add(1), archive.add(2, images=2)
    archive.unlisted.add(unlisted)
    archive.faults[unlisted] = ["one image less"]
    report = fetch(
        archive, tmp_path / "to", manifest=manifest_of(tmp_path, [unlisted, listed]), workers=1
    )
    assert report.fetched == [unlisted, listed]
    assert ("getSeriesSize", unlisted) in archive.requests
    assert archive.fetched().count(unlisted) == 2, "the count of images must have been compared"


def test_an_interrupted_download_fetches_only_what_is_missing(archive, tmp_path):
    uids = [archive.add(n) for n in range(8)]
    done = []

    def interrupt():
        done.append(1)
        if len(done) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        download_collection(config_of(archive, tmp_path, workers=2), Progress(on_series=interrupt))
    finished = {path.name for path in tmp_path.iterdir()} - {RECORD}
    assert 3 <= len(finished) < 8
    assert_whole(archive, tmp_path, finished)
    archive.requests.clear()
    report = fetch(archive, tmp_path)
    assert report.present == len(finished)
    assert set(archive.fetched()) == set(uids) - finished
    assert_whole(archive, tmp_path, uids)


def test_files_that_are_not_of_the_series_are_moved_aside_and_kept(archive, tmp_path):
    uid = archive.add(1)
    archive.files[uid] = {"00000001.dcm": dicom_bytes("1.2.3.1"), "00000002.dcm": b"second" * 99}
    mine = {"notes.txt": b"mine", "sketch.dcm": dicom_bytes("1.2.3.9"), "sub/a.txt": b"deep"}
    copies = {"1-1.dcm": dicom_bytes("1.2.3.1")[:-4], "00000002.dcm": b"sec"}
    for name, content in {**mine, **copies}.items():
        (tmp_path / uid / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / uid / name).write_bytes(content)
    aside = tmp_path / f"{uid}.replaced"
    aside.mkdir()
    (aside / "notes.txt").write_text("older")
    assert fetch(archive, tmp_path).fetched == [uid]
    assert {path.name for path in (tmp_path / uid).iterdir()} == {
        "00000001.dcm", "00000002.dcm", HASHES, "LICENSE"
    }  # fmt: skip
    kept = {str(p.relative_to(aside)): p.read_bytes() for p in aside.rglob("*") if p.is_file()}
    expected = {**mine, "notes (2).txt": mine["notes.txt"], "notes.txt": b"older"}
    assert kept == expected


def test_series_that_cannot_be_checked_are_announced_before_they_are_fetched_again(
    archive, tmp_path, caplog
):
    bare, hashed = archive.add(1), archive.add(2)
    fetch(archive, tmp_path)
    (tmp_path / RECORD).unlink()
    (tmp_path / bare / HASHES).unlink()
    reported = []
    progress = Progress(on_plan=lambda *plan: reported.append(caplog.messages[:]))
    assert download_collection(config_of(archive, tmp_path), progress).fetched == [bare]
    assert f"1 series are in {tmp_path} without {HASHES}" in reported[0][-1]
    assert (tmp_path / hashed).is_dir()
    caplog.clear()
    fetch(archive, tmp_path)
    assert "without" not in caplog.text


@pytest.mark.parametrize("place", ["a_file", "a_file/below", "/proc/nowhere"])
def test_a_place_that_cannot_be_written_to_is_refused_before_the_server_is_asked(
    archive, tmp_path, place
):
    archive.add(1)
    (tmp_path / "a_file").write_text("x")
    with pytest.raises(MiramError, match=r"cannot write to .*give another folder"):
        fetch(archive, tmp_path / place)
    assert archive.requests == []


@pytest.mark.parametrize("damage", ["lost", "cut", "folder lost", "hashes and record lost"])
def test_files_that_went_bad_or_cannot_be_checked_are_fetched_again(archive, tmp_path, damage):
    bad, good = archive.add(1, images=2), archive.add(2)
    fetch(archive, tmp_path)
    victim = tmp_path / bad / "00000002.dcm"
    if damage == "lost":
        victim.unlink()
    elif damage == "cut":
        victim.write_bytes(victim.read_bytes()[:100])
    elif damage == "folder lost":
        shutil.rmtree(tmp_path / bad)
    else:  # a folder alone is no proof of a finished download
        (tmp_path / RECORD).unlink()
        (tmp_path / bad / HASHES).unlink()
    archive.requests.clear()
    assert fetch(archive, tmp_path).fetched == [bad]
    assert archive.fetched() == [bad]
    assert_whole(archive, tmp_path, [bad, good])


def test_recheck_finds_changed_bytes_that_sizes_hide(archive, tmp_path):
    uid, good = archive.add(1), archive.add(2)
    fetch(archive, tmp_path)
    victim = tmp_path / uid / "00000001.dcm"
    victim.write_bytes(b"\0" * victim.stat().st_size)
    assert fetch(archive, tmp_path).fetched == []
    assert fetch(archive, tmp_path, recheck=True).fetched == [uid]
    assert_whole(archive, tmp_path, [uid, good])


@pytest.mark.parametrize("record", [True, False])
def test_finished_series_are_known_by_the_record_or_by_their_hashes(archive, tmp_path, record):
    uids = [archive.add(n) for n in range(3)]
    fetch(archive, tmp_path)
    if not record:
        (tmp_path / RECORD).unlink()
    archive.requests.clear()
    report = fetch(archive, tmp_path)
    assert (report.present, report.fetched, archive.fetched()) == (3, [], [])
    assert_whole(archive, tmp_path, uids)


def test_a_torn_line_of_the_record_harms_no_other(tmp_path):
    (tmp_path / "1.2.3.4").mkdir()
    (tmp_path / "1.2.3.4" / "a.dcm").write_bytes(b"abc")
    (tmp_path / RECORD).write_text('{"series": "1.2.3.5", "fil')
    DownloadRecord(tmp_path).add("1.2.3.4", {"a.dcm": 3})
    again = DownloadRecord(tmp_path)
    assert again.has("1.2.3.4", 1, recheck=False)
    assert not again.has("1.2.3.5", 1, recheck=False)


def test_a_count_that_differs_from_the_servers_is_not_finished(archive, tmp_path):
    uid = archive.add(1, images=1)
    fetch(archive, tmp_path)
    archive.add(1, images=2)  # the archive has got a second image since
    assert fetch(archive, tmp_path).fetched == [uid]
    assert_whole(archive, tmp_path, [uid])


def test_hashes_that_lost_their_leading_zeros_are_understood(archive, tmp_path):
    uid = archive.add(1)
    number = next(
        n for n in range(10000) if hashlib.md5(f"{n}".encode()).hexdigest().startswith("0")
    )
    archive.files[uid] = {"00000001.dcm": f"{number}".encode()}
    archive.faults[uid] = ["short hash"]
    assert fetch(archive, tmp_path, retries=0).fetched == [uid]


def test_a_disk_that_is_too_small_is_reported_before_anything_is_fetched(archive, tmp_path):
    uid = archive.add(1)
    archive.sizes[uid] = 10**18
    with pytest.raises(MiramError, match=r"needs .* GB in .* free"):
        fetch(archive, tmp_path)
    assert archive.fetched() == []


def test_limit_takes_the_first_of_the_list_and_stays_the_same(archive, tmp_path):
    uids = [archive.add(n) for n in range(6)]
    assert sorted(fetch(archive, tmp_path, limit=2).fetched) == sorted(uids[:2])
    assert fetch(archive, tmp_path, limit=2).present == 2
    assert sorted(fetch(archive, tmp_path, limit=3).fetched) == [uids[2]]


def test_series_come_in_the_order_of_the_manifest(archive, tmp_path):
    uids = [archive.add(n) for n in (5, 3, 9, 1)]
    order = [uids[2], uids[0], uids[3], uids[1]]
    manifest = manifest_of(tmp_path, order)
    assert fetch(archive, tmp_path / "to", manifest=manifest, workers=1).fetched == order
    assert archive.fetched() == order


def test_progress_ends_at_what_was_planned(archive, tmp_path):
    uids = [archive.add(n, images=2) for n in range(4)]
    archive.faults[uids[1]] = ["drop", "wrong hash"]
    plans, counts, series = [], [], []
    progress = Progress(lambda *plan: plans.append(plan), counts.append, lambda: series.append(1))
    download_collection(config_of(archive, tmp_path), progress)
    size = sum(len(c) for files in archive.files.values() for c in files.values())
    assert plans == [(4, size)]
    assert sum(counts) == size
    assert min(counts) < 0, "a failed try must be taken back"
    assert len(series) == 4


@pytest.mark.parametrize(
    ("options", "faults", "words"),
    [
        ({"collection": "CBIS"}, [], "lists no series of the collection 'CBIS'"),
        ({"retries": 1}, [500, 500], "answers 500"),
        ({}, ["html"], "answers no JSON"),
        ({"base_url": "http://127.0.0.1:9/v4", "retries": 0}, [], "no answer from"),
        ({"base_url": "nonsense"}, [], "cannot be asked"),
        ({"subset": "calc"}, [], "no series of the subset 'calc'"),
    ],
)
def test_a_download_that_cannot_start_says_why(archive, tmp_path, options, faults, words):
    archive.add(1)
    archive.list_faults = faults
    with pytest.raises(MiramError, match=words):
        fetch(archive, tmp_path / "to", **options)
    assert archive.fetched() == []


def test_a_server_cannot_name_a_folder_outside(archive, tmp_path):
    archive.files["../../1.2"] = {"00000001.dcm": b"evil"}
    archive.patients["../../1.2"] = "evil"
    good = archive.add(1)
    assert fetch(archive, tmp_path / "to").wanted == 1
    assert_whole(archive, tmp_path / "to", [good])


def test_a_subset_follows_the_servers_patient_ids(archive, tmp_path):
    mass = archive.add(1, patient="Mass-Training_P_00001_LEFT_CC_1")
    calc = archive.add(2, patient="Calc-Training_P_00005_RIGHT_CC")
    assert fetch(archive, tmp_path / "m", subset="mass").fetched == [mass]
    assert fetch(archive, tmp_path / "c", subset="calc").fetched == [calc]


def dicom_bytes(instance):
    buffer = io.BytesIO()
    pixels = np.zeros((4, 4), np.uint8)
    dicom(pixels, SOPInstanceUID=instance).save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def manifest_of(folder, uids):
    path = folder / "some.tcia"
    path.write_text("\n".join(["manifestVersion=3.0", "ListOfSeriesToDownload=", *uids]) + "\n")
    return path


def test_a_series_far_larger_than_announced_is_stopped(archive, tmp_path):
    unpacked, sent = archive.add(1, length=24 * 2**20), archive.add(2)
    archive.files[sent] = {"00000001.dcm": os.urandom(24 * 2**20)}
    archive.sizes = {unpacked: 3000, sent: 3000}
    report = fetch(archive, tmp_path, retries=0)
    assert "unpacks to more bytes than announced" in report.failed[unpacked]
    assert "the zip has more bytes than announced (3,000)" in report.failed[sent]
    assert {path.name for path in tmp_path.iterdir()} <= {RECORD}
