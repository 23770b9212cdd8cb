"""The files of settings are read once, and nobody's changes reach the next reader."""

from pathlib import Path

import pytest

from miram.integrations.config_loader import ReadableConfigLoader


@pytest.fixture
def loader(tmp_path: Path) -> ReadableConfigLoader:
    for name in ("base", "local"):
        (tmp_path / name).mkdir()
    (tmp_path / "base/globals.yml").write_text("source: phantom\n")
    text = "source: ${globals:source}\ntraining: {epochs: 13}\n"
    (tmp_path / "base/parameters.yml").write_text(text)
    return ReadableConfigLoader(str(tmp_path), base_env="base", default_run_env="local")


def test_settings_are_those_of_the_first_reading(loader: ReadableConfigLoader) -> None:
    first = loader["parameters"]
    assert first == {"source": "phantom", "training": {"epochs": 13}}
    (Path(loader.conf_source) / "base/parameters.yml").write_text("training: {epochs: 500}\n")
    assert loader["parameters"] == first


def test_a_change_of_what_was_read_stays_with_its_reader(loader: ReadableConfigLoader) -> None:
    loader["parameters"]["training"]["epochs"] = 1
    loader["parameters"]["training"]["epochs"] = 2
    assert loader["parameters"]["training"] == {"epochs": 13}


@pytest.mark.parametrize(
    ("own", "key"),
    [("", "of mine"), ("pseudonyms: {key: of the environment}\n", "of the environment")],
)
def test_own_credentials_are_read_under_every_environment_without_some(
    tmp_path: Path, own: str, key: str
) -> None:
    for name in ("base", "local", "paper"):
        (tmp_path / name).mkdir()
    (tmp_path / "base/credentials.yml").write_text("pseudonyms: {key: ''}\n")
    (tmp_path / "local/credentials.yml").write_text("pseudonyms: {key: of mine}\n")
    (tmp_path / "base/parameters.yml").write_text("epochs: 1\n")
    (tmp_path / "local/parameters.yml").write_text("epochs: 2\n")
    if own:
        (tmp_path / "paper/credentials.yml").write_text(own)
    loader = ReadableConfigLoader(
        str(tmp_path), env="paper", base_env="base", default_run_env="local"
    )
    assert loader["credentials"] == {"pseudonyms": {"key": key}}
    assert loader["parameters"] == {"epochs": 1}


@pytest.mark.parametrize("local", [False, True])
def test_an_environment_needs_no_local_credentials(tmp_path: Path, local: bool) -> None:
    for name in ("base", "paper", *["local"] * local):
        (tmp_path / name).mkdir()
    (tmp_path / "base/credentials.yml").write_text("pseudonyms: {key: ''}\n")
    (tmp_path / "paper/credentials.yml.bak").write_text("pseudonyms: {key: old}\n")
    loader = ReadableConfigLoader(
        str(tmp_path), env="paper", base_env="base", default_run_env="local"
    )
    assert loader["credentials"] == {"pseudonyms": {"key": ""}}


def test_values_that_are_set_take_the_place_of_the_files(loader: ReadableConfigLoader) -> None:
    assert loader["parameters"]["source"] == "phantom"
    loader["parameters"] = {"source": "cbis_ddsm"}
    assert loader["parameters"] == {"source": "cbis_ddsm"}
