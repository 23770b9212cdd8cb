"""The whole study on the phantom, as a user runs it."""

import json
import re

import pandas as pd
import pytest
from mlflow import MlflowClient
from project_paths import STUDIED

from miram.evaluation.tasks.definitions import TASKS
from miram.mammography.crops.store import CropStore
from miram.models.methods import BASELINES


def test_every_output_that_users_look_for_is_there(study):
    assert (study / "02_intermediate/lesions.parquet").is_file()
    assert (study / "02_intermediate/ingest_audit.csv").is_file()
    assert (study / "05_model_input/crops/digest.json").is_file()
    assert (study / "08_reporting/report.html").is_file()
    for method in STUDIED:
        assert list((study / f"06_models/{method}/encoder.safetensors").glob("*/*.safetensors"))
        assert list((study / f"07_model_output/{method}/metrics.json").glob("*/metrics.json"))
        assert (study / f"07_model_output/{method}/predictions.parquet").is_file()


def test_leaderboard_has_an_interval_and_numbers_for_every_method_and_metric(study, open_context):
    leaderboard = open_context(study).catalog.load("leaderboard")
    metrics = {"auc", "average_precision", "balanced_accuracy"}
    for method in STUDIED:
        mine = leaderboard[leaderboard["method"] == method]
        assert metrics <= set(mine["metric"])
    main = leaderboard[leaderboard["metric"].isin(metrics)]
    assert (main["lower"] <= main["estimate"]).all()
    assert (main["estimate"] <= main["upper"]).all()
    assert (main["lesions"] >= main["patients"]).all()
    assert (main["patients"] > 1).all()


def test_predictions_are_of_lesions_the_probe_and_the_encoder_had_not_seen(study):
    splits = pd.read_parquet(study / "05_model_input/splits.parquet").set_index("lesion_id")
    assert (splits["strategy"] == "official").all()
    for method in STUDIED:
        predictions = pd.read_parquet(study / f"07_model_output/{method}/predictions.parquet")
        rows = splits.loc[predictions["lesion_id"]]
        assert (rows["split"] == "test").all()
        assert not rows["pretrain"].any()
        assert len(predictions) == len(splits[splits["split"] == "test"])


def test_training_histories_fall_and_the_random_encoder_has_none(study, open_context):
    catalog = open_context(study).catalog
    assert catalog.load("random.training_record").history.empty
    for method in [*STUDIED][1:]:
        history = catalog.load(f"{method}.training_record").history
        assert len(history) > 1
        if "loss_scale1" in history:
            assert history["loss"].iloc[-1] < history["loss"].iloc[0]


def test_reconstructions_are_shown_at_both_scales(study, open_context):
    catalog = open_context(study).catalog
    shown = catalog.load("miram_nystrom.training_record").reconstructions
    assert shown["scale1_prediction"].shape[1:] == (32, 32)
    assert shown["scale2_prediction"].shape[1:] == (64, 64)
    assert set(catalog.load("mae.training_record").reconstructions) == {
        "scale1_target",
        "scale1_masked",
        "scale1_prediction",
    }


def test_the_encoders_header_says_what_it_came_from(study, open_context):
    checkpoint = open_context(study).catalog.load("miram_linformer.encoder")
    store = CropStore.open(study / "05_model_input/crops")
    assert checkpoint.metadata["data_digest"] == store.digest
    assert checkpoint.metadata["method"]["decoders"][1]["attention"]["kind"] == "linformer"
    assert checkpoint.build().patch_embed.img_size == (32, 32)


def test_the_report_loads_nothing_from_the_network_and_names_every_method(study):
    page = (study / "08_reporting/report.html").read_text(encoding="utf-8")
    markup = re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL)
    assert not re.findall(r"""(?:src|href)\s*=\s*["']?(?:https?:)?//""", markup)
    assert "<script src" not in page
    assert all(method in page for method in STUDIED)


def test_a_rerun_of_rois_decodes_nothing_and_keeps_the_digest(copied, run_pipeline, caplog):
    before = CropStore.open(copied / "05_model_input/crops").digest
    with caplog.at_level("INFO", logger="miram"):
        run_pipeline(copied, "rois")
    assert any(re.match("0 of [0-9]+ mammograms to cut", m) for m in caplog.messages)
    assert CropStore.open(copied / "05_model_input/crops").digest == before


def test_one_method_runs_alone_and_older_versions_load(copied, run_pipeline, open_context):
    folder = copied / "06_models/miram_nystrom/encoder.safetensors"
    older = sorted(path.name for path in folder.iterdir())
    others = set((copied / "06_models/mae/encoder.safetensors").iterdir())
    run_pipeline(
        copied, "pretrain", namespaces=["miram_nystrom"], training={"epochs": 1, "seed": 7}
    )
    versions = sorted(path.name for path in folder.iterdir())
    assert len(versions) == len(older) + 1
    assert set((copied / "06_models/mae/encoder.safetensors").iterdir()) == others

    context = open_context(copied)
    old = context._get_catalog(load_versions={"miram_nystrom.encoder": older[0]})
    assert old.load("miram_nystrom.encoder").metadata["training"]["seed"] == 0
    assert context.catalog.load("miram_nystrom.encoder").metadata["training"]["seed"] == 7

    run_pipeline(
        copied,
        "probe",
        namespaces=["miram_nystrom"],
        load_versions={"miram_nystrom.encoder": older[0]},
    )
    metrics = sorted((copied / "07_model_output/miram_nystrom/metrics.json").glob("*/*.json"))
    first, last = (json.loads(path.read_text()) for path in (metrics[0], metrics[-1]))
    assert first == last


def test_mlflow_has_a_run_per_method_with_the_same_keys_and_a_live_history(study):
    client = MlflowClient(f"sqlite:///{study}/mlflow/mlflow.db")
    experiment = client.get_experiment_by_name("miram")
    runs = client.search_runs(experiment.experiment_id)
    parents = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    assert [run.info.run_name for run in parents] == [f"study phantom, {len(STUDIED)} methods"]
    assert [run.info.status for run in parents] == ["FINISHED"]
    children = {
        run.data.tags["method"]: run
        for run in runs
        if run.data.tags.get("mlflow.parentRunId") == parents[0].info.run_id
    }
    assert set(children) == {*STUDIED, *BASELINES}
    shared = {"loss", "lr", "gradient_norm", "images_per_second"}
    shared |= {"pathology.auc", "pathology.auc.lower", "pathology.auc.upper"}
    for method in [*STUDIED][1:]:
        assert shared <= set(children[method].data.metrics), method
    digest = CropStore.open(study / "05_model_input/crops").digest
    for child in children.values():
        assert [item.dataset.digest for item in child.inputs.dataset_inputs] == [digest]
    keys = [set(run.data.metrics) for name, run in children.items() if name.startswith("miram")]
    assert all(mine == keys[0] for mine in keys)
    history = client.get_metric_history(children["miram_nystrom"].info.run_id, "loss")
    assert len(history) > 2
    parameters = children["miram_performer"].data.params
    assert parameters["method.decoders.1.attention.kind"] == "performer"
    assert parameters["training.epochs"] == "2"
    artifacts = {item.path for item in client.list_artifacts(children["mae"].info.run_id)}
    assert {"encoder.safetensors", "history.csv", "predictions.parquet"} <= artifacts
    report = {item.path for item in client.list_artifacts(parents[0].info.run_id)}
    assert {"report.html", "leaderboard.csv"} <= report
    audit = pd.read_csv(study / "02_intermediate/ingest_audit.csv")
    for code, count in audit["code"].value_counts().items():
        assert parents[0].data.metrics[f"audit.{code}"] == count


def test_one_method_answers_all_tasks_by_every_protocol(copied, run_pipeline, open_context):
    shares = {"enabled": True, "shares": [0.5, 1.0], "draws": 2}
    evaluation = {"tasks": "all", "protocols": "all", "label_efficiency": shares}
    run_pipeline(copied, "probe", namespaces=["random"], evaluation=evaluation)
    catalog = open_context(copied).catalog
    found = catalog.load("random.evaluation")
    metrics = found.metrics
    skipped = {row["task"] for row in metrics["skipped"] if row["what"] == "task"}
    assert set(metrics["tasks"]) | skipped == set(TASKS)
    assert {"pathology", "calc_type"} <= set(metrics["tasks"])
    crops = CropStore.open(copied / "05_model_input/crops")
    assert metrics["features"]["crops"] == crops.digest
    assert set(found.predictions["protocol"]) == {"linear", "mae_probe", "knn"}
    for name in ("calibration", "subgroups", "label_efficiency"):
        table = getattr(found, name)
        assert set(table["task"]) <= set(metrics["tasks"])
        assert {"pathology", "calc_type"} <= set(table["task"])
        assert (table["patients"] > 0).all()
    # The report of a method with more protocols than the others is still of the linear probe.
    run_pipeline(copied, "report", evaluation=evaluation)
    board = catalog.load("leaderboard")
    mine = board[(board["method"] == "random") & (board["task"] == "pathology")]
    expected = metrics["tasks"]["pathology"]["metrics"]
    found = mine.set_index("metric")["estimate"]
    assert found["auc"] == pytest.approx(expected["auc"]["estimate"])


def test_a_rerun_of_probe_encodes_only_what_changed(copied, run_pipeline, caplog):
    def encoded(**params):
        caplog.clear()
        with caplog.at_level("INFO", logger="miram"):
            run_pipeline(copied, "probe", namespaces=["random"], **params)
        return "nothing to encode" not in caplog.text

    path = copied / "04_feature/random/features.parquet"
    first = path.read_bytes()
    assert not encoded()
    assert path.read_bytes() == first
    assert encoded(features={"pooling": "cls"})
    assert path.read_bytes() != first
    run_pipeline(copied, "pretrain", namespaces=["random"], training={"seed": 5})
    assert encoded(features={"pooling": "cls"})
