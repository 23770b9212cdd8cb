"""No setting is left aside silently: neither by an environment, nor by its misspelled name."""

import logging

import pytest
from kedro.framework.project import configure_project
from kedro.validation.exceptions import ParameterValidationError
from project_paths import PROJECT

from miram.errors import MiramError
from miram.integrations.config_loader import ReadableConfigLoader
from miram.integrations.parameters import check_settings, load_parameters, warn_of_ignored
from miram.settings import CONFIG_LOADER_ARGS


@pytest.fixture
def conf(tmp_path):
    for name in ("base", "local", "paper"):
        (tmp_path / name).mkdir()
    (tmp_path / "local" / "parameters.yml").write_text(
        "sources:\n  image_table: {table: findings.csv, box_format: size}\nsplits: {repeats: 5}\n"
    )
    (tmp_path / "local" / "mlflow.yml").write_text("tracking_uri: http://here\n")
    (tmp_path / "local" / "empty.yml").write_text("# nothing\n")
    (tmp_path / "local" / "credentials.yml").write_text("pseudonyms: {key: read nevertheless}\n")
    return tmp_path


def test_another_environment_names_the_local_settings_that_it_does_not_read(conf, caplog):
    with caplog.at_level(logging.WARNING, logger="miram"):
        warn_of_ignored(conf, "paper")
    mlflow, parameters = caplog.messages
    assert "mlflow.yml" in mlflow and "(tracking_uri)" in mlflow
    assert parameters.startswith("--env paper does not read")
    assert (
        "(sources.image_table.table, sources.image_table.box_format, splits.repeats)" in parameters
    )
    assert parameters.endswith(f"into {conf / 'paper'}")


@pytest.mark.parametrize("env", [None, "local"])
def test_nothing_is_said_where_they_are_read(conf, env, caplog):
    warn_of_ignored(conf, env)
    assert not caplog.messages


@pytest.fixture(scope="module", autouse=True)
def configured():
    configure_project("miram")


@pytest.fixture
def check(tmp_path):
    """Check the settings of the project with a file of one's own over them."""
    (tmp_path / "base").symlink_to(PROJECT / "conf" / "base")
    (tmp_path / "own").mkdir()

    def run(text="", name="parameters.yml", **given):
        file = tmp_path / "own" / name
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
        loader = ReadableConfigLoader(
            conf_source=str(tmp_path), env="own", runtime_params=given, **CONFIG_LOADER_ARGS
        )
        try:
            check_settings(loader, given)
        except (MiramError, ParameterValidationError) as error:
            return str(error)
        finally:
            file.unlink()
        return ""

    return run


def test_settings_that_are_read_pass_also_those_of_later_pipelines(check):
    assert check() == ""
    assert check("_mine: &mine {epochs: 3}\ntraining: *mine\n") == ""
    assert check("sources: {image_table: {table: a.csv}}\n", raw_root="/data", source="x") == ""
    assert check("mine: /data", "globals.yml") == ""
    assert check("a: {type: MemoryDataset}", "catalog_own.yml") == ""


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("trainning: {epochs: 3}", "unknown parameter 'trainning': did you mean training or"),
        ("training: {epohcs: 3}", "no setting epohcs; did you mean epochs?"),
        ("training: {watch_every: 3}", "no setting watch_every: it is now validate_every"),
        ("training: {optimizer: {base_lt: 3}}", "no setting optimizer.base_lt; did you mean base_"),
        ("epochs: 3", "unknown parameter 'epochs': did you mean training.epochs or supervised"),
        ("mae: {metod: {mask_ratio: 0.5}}", "unknown parameter 'mae.metod': did you mean mae.meth"),
        ("mae: {method: {mask_rato: 0.5}}", "no setting mask_rato; did you mean mask_ratio?"),
        ("mea: {method: {mask_ratio: 0.5}}", "unknown parameter 'mea': did you mean mae"),
        ("finetuning: {recipes: {paper: {epohcs: 1}}}", "paper.epohcs; did you mean epochs?"),
        ("sources: {image_table: {tabel: a.csv}}", "no setting tabel; did you mean table?"),
        ("sources: {image_tabel: {table: a.csv}}", "unknown source 'image_tabel'"),
        ("raw_root: /data/mine", "give it as --params raw_root="),
        ("nothing_like_it: 1", "did you mean benchmark or data_root or embed"),
    ],
)
def test_a_name_that_nothing_reads_is_refused_whatever_is_run(check, text, message):
    assert message in check(text)
    assert message in check(text, "parameters_own.yml")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"trainning": {"epochs": 3}}, "did you mean training or"),
        ({"training": {"epohcs": 3}}, "did you mean epochs?"),
        ({"promote": {"metod": "mae"}}, "did you mean method?"),
        ({"raw_rot": "/data"}, "did you mean raw_root"),
    ],
)
def test_it_is_refused_among_the_run_time_parameters_as_well(check, given, message):
    assert message in check(**given)


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"training: [", "line 1, column 12"),
        (b"training: 1\ntraining: 2\n", "duplicate key training"),
        (b"- training\n", "holds a list, no names with values"),
        (b"training: {seed: \xff}", "can't decode byte 0xff"),
        (b"training: &loop [*loop]", "maximum recursion depth"),
        (b"training: !!python/object/apply:os.system [ls]", "could not determine a constructor"),
    ],
)
def test_a_file_that_is_no_settings_is_named_with_what_is_wrong(check, tmp_path, content, fault):
    message = check(content)
    assert fault in message and str(tmp_path / "own/parameters.yml") in message
    assert len(message) < 700


@pytest.mark.parametrize("value", ["${nowhere}", "${globals:nowhere}", "${oc.env:HOME}"])
def test_a_value_that_refers_to_nothing_is_named(check, value):
    message = check(f"training: {{seed: '{value}'}}")
    assert message.startswith("the settings cannot be read: ") and "training.seed" in message


def test_a_number_for_a_name_is_refused(check):
    assert "unknown parameter '1'" in check("1: 2")


def test_a_file_that_nothing_reads_is_named_with_the_name_that_it_should_have(check, tmp_path):
    assert "own/mine.yml is not read" in (found := check("training: {epochs: 3}", "mine.yml"))
    assert "Call it parameters_mine.yml" in found
    assert "did you mean data_root?" in check("data_rot: /data", "globals.yml")
    (tmp_path / "parameters.yml").touch()
    assert f"move it into {tmp_path / 'local'}" in check()


def test_commands_refuse_a_name_that_nothing_reads(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pyproject.toml").symlink_to(PROJECT / "pyproject.toml")
    (tmp_path / "src").mkdir()
    (tmp_path / "conf" / "own").mkdir(parents=True)
    (tmp_path / "conf" / "base").symlink_to(PROJECT / "conf" / "base")
    assert load_parameters("own")["training"]
    (tmp_path / "conf" / "own" / "parameters.yml").write_text("encodr: {depth: 3}")
    with pytest.raises(MiramError, match="unknown parameter 'encodr': did you mean encoder"):
        load_parameters("own")
