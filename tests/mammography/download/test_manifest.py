"""Manifests of the NBIA Data Retriever."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from project_paths import SHARED_DATA

from miram.errors import MiramError
from miram.mammography.download.plan import read_manifest
from miram.mammography.sources.cbis_ddsm.case_tables import parse_cbis_path, read_case_descriptions

CSVS = SHARED_DATA / "cbis_ddsm" / "csv"


@pytest.mark.skipif(not CSVS.is_dir(), reason="no shared/data/cbis_ddsm/csv here")
def test_the_real_manifest_lists_the_series_of_the_real_tables():
    uids = read_manifest(next(CSVS.glob("*.tcia")))
    assert len(uids) == len(set(uids)) == 6775
    lesions = read_case_descriptions(CSVS)
    cells = lesions[["image_cell", "crop_cell", "mask_cell"]].to_numpy().ravel()
    assert set(uids) == {parse_cbis_path(cell).series_uid for cell in cells}


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
