"""The raw folder: written by the phantom only, and never over anybody's data."""

from pathlib import Path

import pytest
from kedro.io import DatasetError

from miram.integrations.datasets.raw_folder import RawFolder

FILES = {"csv/a.csv": b"a", "images/1/0.dcm": b"zero"}


def content(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not path.name.startswith(".")
    }


def test_saved_files_are_there_and_loading_gives_the_folder(tmp_path):
    folder = RawFolder(str(tmp_path / "raw"))
    assert not folder.exists()
    folder.save(FILES)
    assert folder.load() == tmp_path / "raw" and folder.exists()
    assert content(tmp_path / "raw") == FILES


def test_later_chunks_of_a_run_are_added(tmp_path):
    folder = RawFolder(str(tmp_path / "raw"))
    for name, data in FILES.items():
        folder.save({name: data})
    assert content(tmp_path / "raw") == FILES


def test_a_new_run_clears_what_an_earlier_run_wrote(tmp_path):
    RawFolder(str(tmp_path / "raw")).save(FILES)
    RawFolder(str(tmp_path / "raw")).save({"images/2/0.dcm": b"two"})
    assert content(tmp_path / "raw") == {"images/2/0.dcm": b"two"}
    assert not (tmp_path / "raw" / "csv").exists()


def test_foreign_data_is_never_touched(tmp_path):
    (tmp_path / "P_00001.dcm").write_bytes(b"a patient")
    with pytest.raises(DatasetError, match=r"did not write, such as P_00001\.dcm"):
        RawFolder(str(tmp_path)).save(FILES)
    assert content(tmp_path) == {"P_00001.dcm": b"a patient"}


def test_foreign_data_put_beside_the_phantom_is_never_touched(tmp_path):
    RawFolder(str(tmp_path)).save(FILES)
    (tmp_path / "images" / "mine.dcm").write_bytes(b"a patient")
    with pytest.raises(DatasetError, match=r"did not write, such as images/mine\.dcm"):
        RawFolder(str(tmp_path)).save(FILES)
    assert content(tmp_path) == {**FILES, "images/mine.dcm": b"a patient"}


def test_an_interrupted_save_can_be_repeated(tmp_path):
    RawFolder(str(tmp_path)).save(FILES)
    (tmp_path / "images" / ".1.dcm.x7f3.dcm").write_bytes(b"half a fi")
    RawFolder(str(tmp_path)).save(FILES)
    assert content(tmp_path) == FILES
    assert not (tmp_path / "images" / ".1.dcm.x7f3.dcm").exists()


@pytest.mark.parametrize("done", range(3))
def test_a_clearing_that_is_killed_can_be_repeated(tmp_path, monkeypatch, done):
    RawFolder(str(tmp_path)).save(FILES)
    unlink, calls = Path.unlink, iter(range(100))

    def killed(path, **options):
        if next(calls) >= done:
            raise KeyboardInterrupt
        unlink(path, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", killed)
        with pytest.raises(KeyboardInterrupt):
            RawFolder(str(tmp_path)).save(FILES)
    RawFolder(str(tmp_path)).save(FILES)
    assert content(tmp_path) == FILES


def test_a_missing_or_empty_folder_is_named(tmp_path):
    with pytest.raises(DatasetError, match="does not exist: give the folder"):
        RawFolder(str(tmp_path / "nowhere")).load()
    with pytest.raises(DatasetError, match="is empty: is the download complete"):
        RawFolder(str(tmp_path)).load()
    RawFolder(str(tmp_path)).save({})
    with pytest.raises(DatasetError, match="is empty"):
        RawFolder(str(tmp_path)).load()
