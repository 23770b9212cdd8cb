"""The folder of a study of one's own."""

import pytest
import yaml
from project_paths import PROJECT

from miram.commands.new import make_study
from miram.errors import MiramError


def test_a_folder_that_holds_something_is_left_as_it_is(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(MiramError, match="holds something already"):
        make_study(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_a_study_has_files_of_its_own(tmp_path):
    make_study(tmp_path / "study")
    assert not [path for path in (tmp_path / "study").rglob("*") if path.is_symlink()]
    assert (tmp_path / "study/conf/base/parameters.yml").is_file()
    assert not list((tmp_path / "study/conf/local").iterdir())
    reported = (PROJECT / ".telemetry").read_text()
    for consent in (reported, (tmp_path / "study/.telemetry").read_text()):
        assert yaml.safe_load(consent) == {"consent": False}
