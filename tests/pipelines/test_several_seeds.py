"""One method, several seeds: from the command line to the leaderboard."""

import shutil

import numpy as np
import pytest
import torch
from mlflow import MlflowClient

from miram.errors import MiramError
from miram.evaluation.config import AssessmentConfig
from miram.evaluation.features.pooling import FeatureConfig
from miram.models.checkpoints.joined import split_seeds
from miram.pipelines.promote.nodes import build_predictor
from miram.serving.registry.decision import PromotionConfig


@pytest.fixture(scope="module")
def of_two_seeds(study, tmp_path_factory, run_pipeline):
    """The study, with a method that is trained and evaluated with two seeds."""
    root = tmp_path_factory.mktemp("seeds") / "study"
    shutil.copytree(study, root, ignore=shutil.ignore_patterns("mlflow"))
    run_pipeline(root, "pretrain", namespaces=["mae"], training={"seeds": "0+1"})
    run_pipeline(root, "probe", namespaces=["mae"])
    return root


def test_each_seed_is_the_training_of_that_seed_alone(of_two_seeds, study, open_context):
    alone = open_context(study).catalog.load("mae.encoder")
    found = split_seeds(open_context(of_two_seeds).catalog.load("mae.encoder"))
    assert list(found) == [0, 1]
    name = "blocks.0.attn.qkv.weight"
    assert torch.equal(found[0].state[name], alone.state[name])
    assert not torch.equal(found[1].state[name], alone.state[name])
    assert [one.metadata["training"]["seed"] for one in found.values()] == [0, 1]


def test_the_leaderboard_records_the_mean_over_seeds_and_how_they_differ(
    of_two_seeds, study, run_pipeline, open_context
):
    run_pipeline(of_two_seeds, "report")
    catalog = open_context(of_two_seeds).catalog
    metric, alone = (
        one.load("mae.evaluation").metrics["tasks"]["pathology"]["metrics"]["auc"]
        for one in (catalog, open_context(study).catalog)
    )
    assert metric["by_seed"][0] == pytest.approx(alone["estimate"])
    assert metric["estimate"] == pytest.approx(np.mean(metric["by_seed"]))
    board = catalog.load("leaderboard").set_index(["method", "task", "metric"])
    row = board.loc[("mae", "pathology", "auc")]
    assert row["seeds"] == 2
    assert row["seed_deviation"] == pytest.approx(np.std(metric["by_seed"], ddof=1))
    assert np.isnan(board.loc[("random", "pathology", "auc"), "seed_deviation"])


def test_seeds_to_be_evaluated_can_be_chosen(of_two_seeds, tmp_path, run_pipeline, open_context):
    root = shutil.copytree(of_two_seeds, tmp_path / "study")
    run_pipeline(root, "probe", namespaces=["mae"], evaluation={"seeds": 1})
    catalog = open_context(root).catalog
    assert catalog.load("mae.evaluation").metrics["seeds"] == [1]
    assert set(catalog.load("mae.evaluation").predictions["seed"]) == {1}
    with pytest.raises(MiramError, match=r"seed 2, but there are only those of 0, 1"):
        run_pipeline(root, "probe", namespaces=["mae"], evaluation={"seeds": "0+2"})


def test_metrics_of_further_seeds_have_names_of_their_own_in_mlflow(of_two_seeds):
    client = MlflowClient(f"sqlite:///{of_two_seeds / 'mlflow/mlflow.db'}")
    (experiment,) = [one for one in client.search_experiments() if one.name != "Default"]
    runs = client.search_runs(experiment.experiment_id, "tags.method = 'mae'")
    known = {name for run in runs for name in run.data.metrics}
    assert {"loss", "seed1/loss"} <= known
    assert "seed0/loss" not in known


def test_the_training_that_is_evaluated_is_the_one_that_is_served(
    of_two_seeds, tmp_path, run_pipeline, open_context
):
    root = shutil.copytree(of_two_seeds, tmp_path / "study")
    run_pipeline(root, "probe", namespaces=["mae"], evaluation={"seeds": 1})
    context = open_context(root)
    load, parameters = context.catalog.load, context.params
    shared = [load(name) for name in ("crops", "lesions", "splits")]
    predictor = build_predictor(
        "mae",
        *(load(f"mae.{name}") for name in ("encoder", "features", "evaluation")),
        *shared,
        FeatureConfig.model_validate(parameters["features"]),
        AssessmentConfig.model_validate(parameters["evaluation"]),
        PromotionConfig.model_validate(parameters["promote"]),
    )
    assert predictor.about["seed"] == 1
    name = "blocks.0.attn.qkv.weight"
    expected = split_seeds(load("mae.encoder"))[1]
    assert predictor.encoder.state.keys() == expected.state.keys()
    assert torch.equal(predictor.encoder.state[name], expected.state[name])
