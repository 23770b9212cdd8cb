"""A study of some methods: they alone are trained, evaluated and reported."""

import shutil

import pytest
import yaml
from kedro.framework.project import pipelines
from kedro.framework.startup import bootstrap_project
from kedro.validation.exceptions import ParameterValidationError
from project_paths import PROJECT, STUDIED

from miram.errors import MiramError
from miram.models.methods import BASELINES, METHODS, choose_methods
from miram.session import of_methods

SOME = ("random", "mae")
SWEPT = yaml.safe_load((PROJECT / "conf/attention_sweep/parameters.yml").read_text())["methods"]


@pytest.fixture(scope="module")
def small(tmp_path_factory, run_pipeline):
    """`kedro run --namespaces mae,random` where nothing has been run before."""
    root = tmp_path_factory.mktemp("small")
    run_pipeline(root, namespaces=["mae", "random"])
    return root


def test_the_methods_that_are_named_make_a_whole_study(small, open_context):
    board = open_context(small).catalog.load("leaderboard")
    assert set(board["method"]) == {*SOME, *BASELINES}
    trained = {path.parent.name for path in small.glob("06_models/*/encoder.safetensors")}
    cards = {path.parent.name for path in small.glob("08_reporting/*/model_card.md")}
    assert trained == cards == set(SOME)
    assert (small / "08_reporting/report.html").is_file()


def test_a_report_takes_what_there_is_and_lists_what_is_missing(
    small, run_pipeline, caplog, tmp_path
):
    small = shutil.copytree(small, tmp_path / "data", ignore=shutil.ignore_patterns("mlflow"))
    run_pipeline(small, "report")
    reported = [line for line in caplog.messages if "is missing from the leaderboard" in line]
    assert [line.split()[0] for line in reported] == [name for name in STUDIED if name not in SOME]
    run_pipeline(small, "report", methods="mae+moco_v3")
    page = (small / "08_reporting/report.html").read_text(encoding="utf-8")
    assert "moco_v3" in page


def test_parameters_choose_the_methods_of_every_pipeline(project):
    bootstrap_project(project)
    whole = dict(pipelines)
    for name in ("__default__", "pretrain", "probe", "export", "finetune"):
        found = of_methods(whole[name], ("mae",), lambda _: False)
        methods = {node.namespace for node in found.nodes} & set(METHODS)
        assert methods == {"mae"}
        assert {node.name for node in found.nodes if node.namespace not in METHODS} == {
            node.name for node in whole[name].nodes if node.namespace not in METHODS
        }
    report = of_methods(whole["report"], SOME, lambda name: name != "random.evaluation")
    named = {name.split(".")[0] for name in report.inputs() if name.endswith(".evaluation")}
    assert named == {"mae", *BASELINES}


def test_lineage_is_drawn_of_the_methods_of_the_study(open_context, small):
    """Kedro-Viz opens a context, and draws the pipelines that are then registered."""
    for env, methods in (("test", STUDIED), ("attention_sweep", SWEPT)):
        open_context(small, env=env)
        drawn = {node.namespace for node in pipelines["__default__"].nodes} - {None, *BASELINES}
        assert drawn == set(methods)
    open_context(small, methods="mae")
    drawn = {name.split(".")[0] for name in pipelines["report"].inputs() if "evaluation" in name}
    assert drawn == {"mae", *BASELINES}


def test_one_run_leaves_the_methods_of_the_next_alone(run_pipeline, open_context, small):
    open_context(small, methods="random")
    with pytest.raises(ParameterValidationError, match=r"mae\.method.*mask_ratio"):
        run_pipeline(small, "report", methods="random", mae={"method": {"mask_ratio": 2}})
    assert open_context(small, methods="mae").params["mae"]["method"].kind == "masked_autoencoder"
    assert "mae.encoder" in pipelines["pretrain"].all_outputs()


def test_what_one_command_makes_it_also_reports(run_pipeline, open_context, tmp_path, small):
    ignored = shutil.ignore_patterns("mlflow", "07_model_output", "08_reporting")
    data = shutil.copytree(small, tmp_path / "data", ignore=ignored)
    run_pipeline(data, ["probe", "report"], methods="mae")
    assert set(open_context(data).catalog.load("leaderboard")["method"]) == {"mae"}


def test_after_a_run_of_one_pipeline_all_are_there_again(
    run_pipeline, open_context, tmp_path, small
):
    data = shutil.copytree(small, tmp_path / "data", ignore=shutil.ignore_patterns("mlflow"))
    run_pipeline(data, "report", methods="random")
    assert open_context(data).params["finetuning"].recipe == "paper"
    assert pipelines["finetune"].nodes


def test_without_any_evaluation_there_is_no_report(run_pipeline, tmp_path):
    with pytest.raises(MiramError, match=r"has not been made yet in .*: run the earlier pipelines"):
        run_pipeline(tmp_path, "report")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"namespaces": ["miram_nystrum"]}, "'miram_nystrum': did you mean miram_nystrom?"),
        ({"pipeline": "pretrain", "namespaces": ["mea"]}, "'mea': did you mean mae?"),
        ({"methods": "mae+randm"}, "'randm': did you mean random?"),
        ({"methods": ""}, "there is no method ''"),
        ({"methods": "mae+miram_halo"}, "no settings of miram_halo: run it with `--env attention"),
        ({"pipeline": "pretrain", "namespaces": ["miram_halo"]}, "no settings of miram_halo"),
    ],
)
def test_unknown_methods_are_refused_with_the_near_name(options, words, run_pipeline, tmp_path):
    with pytest.raises(MiramError, match=words.replace("?", r"\?")):
        run_pipeline(tmp_path, **options)
    assert not list(tmp_path.iterdir())


def test_methods_come_in_the_order_of_the_tables_however_they_are_named():
    assert choose_methods("all") == tuple(METHODS)
    assert choose_methods("all", ["rois", "mae", "random"]) == SOME
    assert choose_methods("mae+random") == choose_methods(["mae", "random"]) == SOME
