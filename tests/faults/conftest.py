import shutil

import pytest


@pytest.fixture
def copied_study(finished_project, tmp_path):
    """A finished study of one's own, to be changed."""
    ignored = shutil.ignore_patterns("mlflow")
    return shutil.copytree(finished_project / "data", tmp_path / "study", ignore=ignored)
