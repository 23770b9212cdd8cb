import os
import shutil
from functools import cache

import pytest
from kedro.framework.project import settings
from kedro.framework.startup import bootstrap_project
from project_paths import PROJECT

os.environ["DO_NOT_TRACK"] = "1"


# Once: with all that the tests import it takes seconds.
_bootstrap = cache(bootstrap_project)


def _session(data_root, env, params):
    _bootstrap(PROJECT)
    runtime = {"data_root": str(data_root), **params}
    return settings.SESSION_CLASS.create(PROJECT, env=env, runtime_params=runtime)


@pytest.fixture(scope="session")
def project():
    return PROJECT


@pytest.fixture(scope="session")
def run_pipeline():
    """Run pipelines as `kedro run` does, every file under `data_root`."""

    def run(data_root, pipeline=None, env="test", load_versions=None, namespaces=None, **params):
        with _session(data_root, env, params) as session:
            return session.run(
                pipeline_names=[pipeline] if isinstance(pipeline, str) else pipeline,
                load_versions=load_versions,
                namespaces=namespaces,
            )

    return run


@pytest.fixture(scope="session")
def open_context():
    """The project's context: parameters and catalog."""

    def make(data_root, env="test", **params):
        with _session(data_root, env, params) as session:
            return session.load_context()

    return make


@pytest.fixture(scope="session")
def study(tmp_path_factory, finished_project):
    """The data of a finished study on the phantom, to be read."""
    return shutil.copytree(finished_project / "data", tmp_path_factory.mktemp("study") / "data")


@pytest.fixture
def copied(study, tmp_path):
    """A finished study of one's own, to be changed."""
    return shutil.copytree(study, tmp_path / "study", ignore=shutil.ignore_patterns("mlflow"))
