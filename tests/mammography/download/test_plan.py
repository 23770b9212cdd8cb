"""What a download shall fetch: manifests, subsets, and the room for them."""

import shutil

import pytest
from hypothesis import given
from hypothesis import strategies as st
from project_paths import SHARED_DATA

from miram.errors import MiramError
from miram.mammography.download.nbia import Series
from miram.mammography.download.plan import (
    DownloadConfig,
    check_space,
    choose_series,
    read_manifest,
)
from miram.mammography.sources.cbis_ddsm.case_tables import parse_cbis_path, read_case_descriptions

CSVS = SHARED_DATA / "cbis_ddsm" / "csv"
needs_csvs = pytest.mark.skipif(not CSVS.is_dir(), reason="no shared/data/cbis_ddsm/csv here")


@given(
    keys=st.lists(st.from_regex(r"[a-z]{1,8}=[\w./:]{0,12}", fullmatch=True), max_size=8),
    numbers=st.lists(st.integers(1, 10**30), min_size=1, max_size=8),
    line_end=st.sampled_from(["\n", "\r\n"]),
    blank=st.booleans(),
)
def test_any_number_of_keys_may_stand_before_the_list(
    tmp_path_factory, keys, numbers, line_end, blank
):
    uids = [f"1.2.840.{number}" for number in numbers]
    lines = [*keys, "ListOfSeriesToDownload=", *([""] if blank else []), *uids]
    path = tmp_path_factory.mktemp("manifest") / "a.tcia"
    path.write_bytes((line_end.join(lines) + line_end).encode())
    assert read_manifest(path) == tuple(dict.fromkeys(uids))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("<html>not found</html>", "no line ListOfSeriesToDownload="),
        ("a=b\nListOfSeriesToDownload=\n\n", "lists no series"),
        ("a=b\nListOfSeriesToDownload=\n1.2.3\n../etc\n", "line 4: '../etc' is no series UID"),
        (None, "cannot be read"),
    ],
)
def test_what_is_no_manifest_is_refused(tmp_path, text, words):
    path = tmp_path / "a.tcia"
    if text is not None:
        path.write_text(text)
    with pytest.raises(MiramError, match=words):
        read_manifest(path)


def test_room_is_kept_for_the_zips_of_all_transfers_at_a_time(tmp_path, monkeypatch):
    missing = [Series(f"1.2.3.{n}", size=n * 10**9) for n in (1, 7, 5, 10)]
    spare = 2**28
    usage = shutil.disk_usage(tmp_path)
    for workers, zips in ((1, 10), (2, 17), (4, 23)):
        needed = (23 + zips) * 10**9 + spare
        monkeypatch.setattr(shutil, "disk_usage", lambda _, n=needed: usage._replace(free=n))
        check_space(tmp_path, missing, workers)
        monkeypatch.setattr(shutil, "disk_usage", lambda _, n=needed: usage._replace(free=n - 1))
        with pytest.raises(MiramError, match="GB"):
            check_space(tmp_path, missing, workers)


@needs_csvs
def test_subsets_of_the_real_tables_share_no_series_and_make_up_the_manifest(tmp_path):
    manifest = read_manifest(next(CSVS.glob("*.tcia")))
    listed = {"1.2.3.4": Series("1.2.3.4")}
    chosen = {
        subset: choose_series(
            DownloadConfig(to=tmp_path, subset=subset, tables=CSVS), manifest, listed
        )
        for subset in ("mass", "calc")
    }
    assert not set(chosen["mass"]) & set(chosen["calc"])
    assert {*chosen["mass"], *chosen["calc"]} == set(manifest)
    assert len(chosen["mass"]) + len(chosen["calc"]) == 6775
    position = {uid: place for place, uid in enumerate(manifest)}
    for uids in chosen.values():
        assert [position[uid] for uid in uids] == sorted(position[uid] for uid in uids)


@needs_csvs
def test_tables_without_a_manifest_put_the_files_of_a_lesion_together(tmp_path):
    config = DownloadConfig(to=tmp_path, tables=CSVS, subset="mass", limit=2)
    chosen = choose_series(config, None, {"1.2.3.4": Series("1.2.3.4")})
    first = read_case_descriptions(CSVS).iloc[0]
    cells = (first.image_cell, first.crop_cell, first.mask_cell)
    assert set(chosen) == {parse_cbis_path(cell).series_uid for cell in cells}
