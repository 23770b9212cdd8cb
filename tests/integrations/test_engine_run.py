import pytest
from kedro.framework.startup import bootstrap_project
from kedro.utils import load_obj
from project_paths import PROJECT

from miram.errors import MiramError
from miram.integrations.engine_run import on_engine
from miram.integrations.runner import TrainingsFirst


@pytest.fixture(autouse=True)
def project(monkeypatch):
    monkeypatch.chdir(PROJECT)
    bootstrap_project(PROJECT)


def options(runner=None, **engine):
    params = {"engine": {"kind": "ray", **engine}} if engine else {}
    return {"env": "test", "params": params, "runner": runner, "runner_params": {"is_async": False}}


@pytest.mark.parametrize("engine", [{}, {"parallel_methods": 1, "num_workers": 2}])
def test_methods_come_one_after_the_other_unless_asked(engine):
    given = options(**engine)
    with on_engine(given) as chosen:
        assert chosen == given


def test_several_methods_at_a_time_take_as_many_threads():
    with on_engine(options("SequentialRunner", parallel_methods=3)) as chosen:
        assert load_obj(chosen["runner"]) is TrainingsFirst
        assert chosen["runner_params"] == {"is_async": False, "max_workers": 3}
        assert chosen["env"] == "test"


def test_another_runner_is_refused_beside_several_methods_at_a_time():
    given = options("ParallelRunner", parallel_methods=3)
    with pytest.raises(MiramError, match=r"ParallelRunner and engine\.parallel_methods=3 exclude"):
        on_engine(given).__enter__()


def test_a_setting_the_engine_does_not_know_is_reported_before_the_run():
    with pytest.raises(MiramError, match="did you mean num_workers"):
        on_engine(options(number_workers=3)).__enter__()


def test_without_ray_a_runner_that_is_asked_for_is_taken():
    def local(runner):
        return options(runner, kind="local", parallel_methods=2)

    with on_engine(local("SequentialRunner")) as chosen:
        assert chosen["runner"] == "SequentialRunner"
    with on_engine(local(None)) as chosen:
        assert load_obj(chosen["runner"]) is TrainingsFirst
