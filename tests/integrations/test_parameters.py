"""Settings that an environment leaves aside are not left aside silently."""

import logging

import pytest

from miram.integrations.parameters import warn_of_ignored


@pytest.fixture
def conf(tmp_path):
    for name in ("base", "local", "paper"):
        (tmp_path / name).mkdir()
    (tmp_path / "local" / "parameters.yml").write_text(
        "sources:\n  image_table: {table: findings.csv, box_format: size}\nsplits: {repeats: 5}\n"
    )
    (tmp_path / "local" / "mlflow.yml").write_text("tracking_uri: http://here\n")
    (tmp_path / "local" / "empty.yml").write_text("# nothing\n")
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
