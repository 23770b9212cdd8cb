"""The command `miram`: help, results for people and machines, errors on one line."""

import json
import signal
import subprocess
import sys
from importlib.metadata import version

import nbia_server
import numpy as np
import pytest
from miram_command import call_miram as run
from PIL import Image

from miram.errors import Stopped, resumable
from miram.files import recorded_path
from miram.mammography.crops.cut import CropConfig
from miram.mammography.crops.plan import build_crop_store, plan_crops
from miram.mammography.sources import make_source


@pytest.fixture
def archive():
    server = nbia_server.Archive()
    yield server
    server.close()


@pytest.fixture
def store(tmp_path):
    across = np.linspace(0, 255, 64).astype(np.uint8)
    Image.fromarray(np.tile(across, (64, 1))).save(tmp_path / "image.png")
    rows = "image_path,patient_id,x0,y0,x1,y1\nimage.png,a,8,8,40,40\nimage.png,a,20,30,60,50\n"
    (tmp_path / "images.csv").write_text(rows)
    source = make_source("image_table", {"box_columns": ["x0", "y0", "x1", "y1"]})
    lesions = source.ingest(tmp_path).lesions
    plan = plan_crops(lesions, tmp_path, CropConfig(image_size=16, context=1.0))
    return build_crop_store(plan, tmp_path / "crops").folder


def test_a_sound_store_is_ok(store, capsys):
    assert run("verify", store) == 0
    assert capsys.readouterr().out == f"{store}: ok\n"


def test_a_changed_store_says_what_differs_and_fails(store, capsys):
    path = store / "crops.npy"
    path.write_bytes(path.read_bytes()[:-1] + b"\x07")
    assert run("verify", store) == 1
    assert f"{store}: crops.npy: sha256 is" in capsys.readouterr().out
    assert run("verify", store, "--json") == 1
    result = json.loads(capsys.readouterr().out)
    assert result["ok"] is False and result["problems"]


def test_a_store_that_is_none_fails(tmp_path, capsys):
    assert run("verify", tmp_path / "nowhere") == 1
    output = capsys.readouterr()
    assert "says what was written there: give the data_root" in output.err


def test_every_recorded_file_under_a_data_root_is_verified(store, tmp_path, capsys):
    (tmp_path / "06_models").mkdir()
    with recorded_path(tmp_path / "06_models" / "encoder.safetensors") as path:
        path.write_bytes(b"weights")
    assert run("verify", tmp_path) == 0
    (tmp_path / "06_models" / "encoder.safetensors").write_bytes(b"wEights")
    assert run("verify", tmp_path) == 1
    assert "encoder.safetensors: not what was written\n" in capsys.readouterr().out


def test_errors_are_one_line_on_stderr_without_a_traceback(tmp_path, capsys):
    assert run("download", "inbreast", "--to", tmp_path) == 1
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err == "miram: unknown collection 'inbreast': one of cbis_ddsm\n"


def test_a_download_without_a_network_ends_in_one_line(tmp_path, capsys):
    offline = ["--base-url", "http://127.0.0.1:9/v4", "--retries", 0]
    assert run("download", "cbis_ddsm", "--to", tmp_path, *offline) == 1
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.strip().splitlines()[-1] == (
        "miram: no answer from 127.0.0.1 to getSeries (Connection refused): is there a network, or "
        "a proxy to name in HTTPS_PROXY?"
    )


def test_the_version_is_told(capsys):
    assert run("--version") == 0
    assert capsys.readouterr().out == f"miram {version('miram')}\n"


@pytest.mark.usefixtures("heeds_ctrl_c")
def test_ctrl_c_in_a_command_that_goes_on_gives_one_hint_and_the_status_of_its_signal():
    with pytest.raises(Stopped, match="the same command resumes") as caught, resumable():
        signal.raise_signal(signal.SIGINT)
    assert caught.value.exit_code == 128 + signal.SIGINT


def test_a_download_from_the_command_line(archive, tmp_path, capsys):
    uids = [archive.add(n) for n in range(3)]
    there = ["download", "cbis_ddsm", "--to", tmp_path / "to", "--base-url", archive.url]
    assert run(*there, "--limit", 2) == 0
    reported = capsys.readouterr().out
    assert "2 of 2 series are in" in reported
    assert (
        f"next: kedro run --pipeline ingest --params source=cbis_ddsm,raw_root={tmp_path}"
        in reported
    )
    assert run(*there, "--json") == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["wanted"], result["present"], result["fetched"]) == (3, 2, [uids[2]])


def test_a_download_with_failures_names_them_and_fails(archive, tmp_path, capsys):
    bad = archive.add(1)
    archive.add(2)
    archive.faults[bad] = [404]
    there = ["download", "cbis_ddsm", "--to", tmp_path, "--base-url", archive.url]
    assert run(*there, "--retries", 0) == 1
    output = capsys.readouterr().out
    assert "1 of 2 series are in" in output and f"{bad}: " in output
    assert run(*there) == 0, "the same command again fetches the rest"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["cbis_ddsm", "--collection-subset", "both"], "--collection-subset: "),
        (["cbis_ddsm", "--limit", "0"], "--limit: "),
        (["cbis_ddsm", "--manifest", "/nowhere.tcia"], "cannot be read as a TCIA manifest"),
    ],
)
def test_wrong_options_are_reported_before_anything_is_asked(tmp_path, capsys, arguments, words):
    assert run("download", *arguments, "--to", tmp_path, "--base-url", "http://127.0.0.1:9") == 1
    assert words in capsys.readouterr().err


def test_help_imports_nothing_heavy():
    code = (
        "import sys, miram.commands.app;"
        "print(sorted({'pandas', 'numpy', 'torch', 'requests', 'kedro'} & set(sys.modules)))"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"
