"""The wheel is all that a study needs."""

import os
import shutil
import subprocess
import sys
from zipfile import ZipFile

import pytest
from project_paths import PROJECT

BUILT_FROM = ("src", "conf", "notebooks", "pyproject.toml", "README.md", "LICENSE")


def call(*command, cwd, **environment):
    done = subprocess.run(
        [sys.executable, *map(str, command)],
        cwd=cwd,
        env={**os.environ, "DO_NOT_TRACK": "1", **environment},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    unwanted = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for name in BUILT_FROM:
        copy = shutil.copytree if (PROJECT / name).is_dir() else shutil.copy
        options = {"symlinks": True, "ignore": unwanted} if copy is shutil.copytree else {}
        copy(PROJECT / name, folder / "source" / name if options else folder / "source", **options)
    (folder / "source/conf/local/credentials.yml").write_text("token: secret")
    offline = ("--no-deps", "--no-build-isolation", "--wheel-dir", folder)
    call("-m", "pip", "wheel", *offline, ".", cwd=folder / "source")
    return next(folder.glob("*.whl"))


@pytest.mark.slow
def test_the_wheel_holds_all_settings_and_nothing_private(wheel):
    names = {name.removeprefix("miram/project/") for name in ZipFile(wheel).namelist()}
    tracked = subprocess.run(
        ["git", "ls-files", "conf", "notebooks"], cwd=PROJECT, capture_output=True, text=True
    )
    expected = {name for name in tracked.stdout.split() if not name.startswith("conf/local")}
    assert expected and expected <= names
    assert not [name for name in names if "local" in name and name.startswith("conf")]


@pytest.mark.slow
def test_a_method_is_trained_and_reported_from_the_installed_wheel_alone(wheel, tmp_path):
    site = tmp_path / "site"
    call("-m", "pip", "install", "--no-deps", "--target", site, wheel, cwd=tmp_path)
    installed = {"PYTHONPATH": str(site)}
    where = call("-c", "import miram; print(miram.__file__)", cwd=tmp_path, **installed)
    assert where.startswith(str(site))
    main = "from miram.commands.app import main; main(['new', 'study'])"
    reported = call("-c", main, cwd=tmp_path, **installed)
    assert "cd study && kedro run --env test" in reported
    study = tmp_path / "study"
    call(*["-m", "kedro", "run", "--env", "test", "--namespaces", "mae"], cwd=study, **installed)
    losses = (study / "data/06_models/mae/history.csv").read_text().splitlines()
    assert len(losses) > 2
    assert (study / "data/08_reporting/report.html").is_file()
    assert {path.name for path in study.iterdir()} >= {"conf", "notebooks", "README.md"}
