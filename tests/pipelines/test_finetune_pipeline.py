"""The finetune pipeline as a user runs it, on a finished study."""

import json
from shutil import copytree, ignore_patterns

import pandas as pd
import pytest
from kedro.framework.project import pipelines

from miram.files import recorded_path
from miram.finetuning.model import ABOUT, split_models
from miram.mammography.crops.store import CropStore
from miram.models.checkpoints.files import PretrainedCheckpoint, load_checkpoint

METHOD = "random"  # whose encoder costs nothing: fine-tuned it is the reference from scratch


@pytest.fixture(scope="module")
def finetuned(tmp_path_factory, study, run_pipeline):
    """A copy of the finished study, with one method fine-tuned."""
    root = tmp_path_factory.mktemp("finetuned") / "study"
    copytree(study, root, ignore=ignore_patterns("mlflow"))
    run_pipeline(root, "finetune", namespaces=[METHOD])
    return root


def output(data_root, name):
    return data_root / f"07_model_output/{METHOD}/{name}"


def test_every_output_is_there_with_metrics_intervals_and_numbers(finetuned):
    folder = output(finetuned, "finetuned_metrics.json")
    metrics = json.loads(max(folder.glob("*/*.json")).read_text())
    task = metrics["tasks"]["pathology"]
    splits = pd.read_parquet(finetuned / "05_model_input/splits.parquet")
    evaluated = splits[splits["split"] == "test"]
    assert task["lesions"] == len(evaluated)
    assert task["patients"] == evaluated["patient_id"].nunique()
    for metric in task["metrics"].values():
        assert metric["lower"] <= metric["estimate"] <= metric["upper"]
    (fold,) = metrics[ABOUT]["folds"]
    known = splits["split"].isin(["train", "val"]).sum()
    assert fold["training"]["lesions"] + fold["validation"]["lesions"] == known
    lesions = pd.read_parquet(finetuned / "02_intermediate/lesions.parquet").set_index("lesion_id")
    validating = lesions.loc[splits.loc[splits["split"] == "val", "lesion_id"], "pathology"]
    one_class = validating.str.startswith("BENIGN").nunique() < 2
    assert fold["validation"]["cut"] == one_class  # else the official part validates
    assert 1 <= fold["epoch"] <= 2
    assert metrics[ABOUT]["recipe"] == "paper"
    for name in ("finetuned_calibration.csv", "finetuned_subgroups.csv"):
        assert len(pd.read_csv(output(finetuned, name)))
    history = pd.read_csv(finetuned / f"06_models/{METHOD}/finetuning_history.csv")
    assert history["validation_auc"].notna().sum() == 2
    assert history["validation_auc"].max() == fold["validation"]["validation_auc"]


def test_predictions_are_of_test_lesions_once(finetuned):
    predictions = pd.read_parquet(output(finetuned, "finetuned_predictions.parquet"))
    splits = pd.read_parquet(finetuned / "05_model_input/splits.parquet").set_index("lesion_id")
    assert (splits.loc[predictions["lesion_id"], "split"] == "test").all()
    assert predictions["lesion_id"].is_unique
    assert predictions["calibrated"].between(0, 1).all()


def test_encoder_and_head_moved_and_the_header_records_how(finetuned):
    (saved,) = (finetuned / f"06_models/{METHOD}/finetuned.safetensors").glob("*/*.safetensors")
    (start,) = (finetuned / f"06_models/{METHOD}/encoder.safetensors").glob("*/*.safetensors")
    checkpoint = load_checkpoint(saved)
    assert isinstance(checkpoint, PretrainedCheckpoint)
    (model,) = split_models(checkpoint).values()
    before = load_checkpoint(start).state["blocks.0.attn.qkv.weight"]
    assert not model.encoder.state_dict()["blocks.0.attn.qkv.weight"].equal(before)
    assert checkpoint.metadata["training"]["optimizer"]["kind"] == "adam"
    assert checkpoint.metadata[ABOUT]["task"] == "pathology"
    assert (finetuned / f"06_models/{METHOD}/finetuning/finished.pt").is_file()


def test_what_was_fine_tuned_is_in_the_report(finetuned, run_pipeline, open_context, caplog):
    run_pipeline(finetuned, "report")
    board = open_context(finetuned).catalog.load("leaderboard")
    assert set(board["data_digest"]) == {CropStore.open(finetuned / "05_model_input/crops").digest}
    tuned = board[board["protocol"] == "finetuned"]
    assert set(tuned["method"]) == {"random"} and tuned["metric"].is_unique
    (metrics,) = (finetuned / "07_model_output/random/finetuned_metrics.json").glob("*/*.json")
    expected = json.loads(metrics.read_text())["tasks"]["pathology"]["metrics"]
    found = tuned.set_index("metric")["estimate"]
    assert found["auc"] == pytest.approx(expected["auc"]["estimate"])
    # Under other splits than the probes it is left out, and that is reported.
    with recorded_path(metrics) as other:
        other.write_text(json.dumps(json.loads(metrics.read_text()) | {"leakage": "official"}))
    run_pipeline(finetuned, "report")
    board = open_context(finetuned).catalog.load("leaderboard")
    assert set(board["protocol"]) == {"linear"}
    assert "random was fine-tuned under official, leakage official" in caplog.text


def test_the_medical_recipe_trains_a_model_per_fold(finetuned, run_pipeline, tmp_path):
    root = tmp_path / "study"
    copytree(finetuned, root, ignore=ignore_patterns("finetuning", "mlflow"))
    run_pipeline(root, "rois", splits={"strategy": "cv", "folds": 2})
    changes = {"recipe": "medical_mae", "recipes": {"medical_mae": {"epochs": 1}}}
    run_pipeline(root, "finetune", namespaces=[METHOD], finetuning=changes)
    metrics = json.loads(max(output(root, "finetuned_metrics.json").glob("*/*.json")).read_text())
    assert [one["fold"] for one in metrics[ABOUT]["folds"]] == ["fold0", "fold1"]
    assert metrics[ABOUT]["drop_path"] == 0.2
    splits = pd.read_parquet(root / "05_model_input/splits.parquet")
    assert metrics["tasks"]["pathology"]["lesions"] == len(splits)
    assert len(metrics["tasks"]["pathology"]["calibration"]["temperatures"]) == 2


def test_recipes_are_those_of_the_environments(open_context, tmp_path):
    recipes = {}
    for env in ("base", "paper", "medical_mae"):
        config = open_context(tmp_path, env=env).params["finetuning"]
        recipes[env] = (config.recipe, config.chosen)
    paper, medical = recipes["paper"][1], recipes["medical_mae"][1]
    assert [recipes[env][0] for env in recipes] == ["paper", "paper", "medical_mae"]
    assert recipes["base"] == recipes["paper"]
    assert paper.optimizer.base_lr * paper.batch_size / 256 == pytest.approx(1e-5)
    assert (paper.epochs, paper.optimizer.kind, paper.optimizer.weight_decay) == (100, "adam", 0.01)
    assert medical.optimizer.layer_decay == 0.55
    assert medical.drop_path == 0.2


def test_it_is_no_part_of_the_study(run_pipeline, finetuned):
    names = {node.name for node in pipelines["finetune"].nodes}
    assert not names & {node.name for node in pipelines["__default__"].nodes}


def test_a_recipe_that_is_not_there_is_reported_before_anything_runs(finetuned, run_pipeline):
    with pytest.raises(Exception, match="there is no recipe 'papers': choose among paper"):
        run_pipeline(finetuned, "finetune", namespaces=[METHOD], finetuning={"recipe": "papers"})
