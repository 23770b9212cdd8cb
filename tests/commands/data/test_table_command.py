"""`miram table check`: what was taken, and settings that a study reads."""

import json
import shutil
from functools import partial

import numpy as np
import pytest
import yaml
from miram_command import call_miram
from PIL import Image
from project_paths import PROJECT

from miram.mammography.sources import make_source

run = partial(call_miram, "table", "check")


@pytest.fixture
def lab(tmp_path):
    folder = tmp_path / "lab"
    folder.mkdir()
    Image.fromarray(np.full((60, 50), 90, np.uint8)).save(folder / "a.png")
    rows = ["patient,file,x,y,w,h,diagnosis", "p,a.png,1,2,20,30,cancer", "q,gone.png,1,2,3,4,b"]
    (folder / "findings.csv").write_text("\n".join(rows))
    return folder


def test_the_printed_settings_read_the_table(lab, capsys):
    assert run(lab / "findings.csv") == 0
    reported = capsys.readouterr().out
    assert "# 1 lesions of 1 patients in 1 mammograms" in reported
    assert "# pathology: 1 MALIGNANT" in reported and "# audit: 1 x image_missing" in reported
    assert f"kedro run --params source=image_table,raw_root={lab}" in reported
    options = yaml.safe_load(reported)["sources"]["image_table"]
    assert len(make_source("image_table", options).ingest(lab).lesions) == 1


def test_settings_are_written_into_a_folder_of_the_study_and_never_over_others(
    lab, tmp_path, capsys
):
    folder = tmp_path / "conf" / "my_lab"
    assert run(lab / "findings.csv", "--write", folder) == 0
    assert capsys.readouterr().out.endswith("# next: kedro run --env my_lab\n")
    written = (folder / "parameters_ingest.yml").read_text()
    assert written.startswith("# 1 lesions of 1 patients")
    assert set(yaml.safe_load(written)) == {"sources"}
    assert yaml.safe_load((folder / "parameters.yml").read_text()) == {"methods": ["random", "mae"]}
    places = yaml.safe_load((folder / "globals.yml").read_text())
    expected = {"source": "image_table", "raw_root": str(lab), "data_root": "data/my_lab"}
    assert places == expected
    (folder / "globals.yml").unlink()
    assert run(lab / "findings.csv", "--write", folder) == 1
    assert f"{folder / 'parameters_ingest.yml'} exists" in capsys.readouterr().err
    assert (folder / "parameters_ingest.yml").read_text() == written
    assert not (folder / "globals.yml").exists()


def test_settings_of_a_study_that_were_copied_to_the_folder_stay(lab, tmp_path, capsys):
    folder = shutil.copytree(PROJECT / "conf/paper", tmp_path / "conf/my_lab")
    assert run(lab / "findings.csv", "--write", folder) == 0
    capsys.readouterr()
    paper = PROJECT / "conf/paper/parameters.yml"
    assert (folder / "parameters.yml").read_text() == paper.read_text()
    assert (folder / "globals.yml").is_file() and (folder / "parameters_ingest.yml").is_file()


def test_a_table_that_cannot_be_read_yet_is_not_said_to_be_ready(lab, tmp_path, capsys):
    (lab / "findings.csv").write_text("file,x,y,w,h\na.png,1,2,20,30\n")
    folder = tmp_path / "conf" / "my_lab"
    assert run(lab / "findings.csv", "--write", folder) == 1
    assert "next: mend what cannot be read, then kedro run" in capsys.readouterr().out
    written = (folder / "parameters_ingest.yml").read_text()
    assert "cannot be read yet" in written and "decide: no column seems to name" in written
    assert yaml.safe_load(written)["sources"]["image_table"]["table"] == "findings.csv"


def test_machines_are_told_why_a_table_cannot_be_read_yet(lab, capsys):
    (lab / "findings.csv").write_text("colour\nred\n")
    assert run(lab / "findings.csv", "--json") == 1
    reported = json.loads(capsys.readouterr().out)
    assert "has no column image_path" in reported["fault"] and len(reported["doubts"]) == 3


def test_images_in_a_linked_folder_are_found(lab, tmp_path, capsys):
    (tmp_path / "table").mkdir()
    (tmp_path / "table/png").symlink_to(lab)
    table = tmp_path / "table/findings.csv"
    table.write_text("patient,file,x,y,w,h,diagnosis\np,a.png,1,2,20,30,cancer\n")
    assert run(table) == 0
    assert "image_path: png/{file}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["findings.csv", "--write", "my_lab"], "an environment is a folder below conf: --write "),
        (
            ["findings.csv", "--write", "conf/my_lab/parameters.yml"],
            "--write takes a folder: --write ",
        ),
        ([""], "is a folder: name the table in it, such as "),
        (["book.xlsx"], "book.xlsx is an Excel file: save it as CSV in UTF-8"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_what_may_be(lab, arguments, words, capsys):
    (lab / "book.xlsx").write_bytes(b"PK\x03\x04\x84")
    file, *options = arguments
    assert run(lab / file, *options) == 1
    assert words in capsys.readouterr().err
