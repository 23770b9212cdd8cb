"""Loading a registered model: by its number, and without making a registry that was not there."""

import pytest

from miram.errors import MiramError
from miram.serving.registry.versions import load_predictor, roll_back


def test_a_failed_lookup_makes_no_registry(tmp_path):
    uri = f"sqlite:///{tmp_path}/mlflow/mlflow.db"
    with pytest.raises(MiramError, match="no model has been registered"):
        load_predictor("models:/miram-mae@champion", lambda: uri, lambda: None)
    assert not list(tmp_path.iterdir())


def test_going_back_asks_the_registry_of_the_environment_and_makes_none(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow/mlflow.db")
    with pytest.raises(MiramError, match=f"there is no {tmp_path}/mlflow/mlflow.db"):
        roll_back("mae", 2, because="none")
    assert not list(tmp_path.iterdir())
