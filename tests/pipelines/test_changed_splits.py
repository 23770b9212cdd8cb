"""Splits that are changed under a finished study: nothing is evaluated as if they had not been."""

import shutil

import pandas as pd
import pytest

from miram.errors import MiramError


@pytest.fixture(scope="module")
def changed(study, tmp_path_factory, run_pipeline):
    """A finished study whose lesions are cross-validated afterwards."""
    folder = tmp_path_factory.mktemp("changed") / "study"
    shutil.copytree(study, folder, ignore=shutil.ignore_patterns("mlflow"))
    run_pipeline(folder, "rois", splits={"strategy": "cv", "folds": 3, "repeats": 2})
    return folder


def test_an_encoder_that_learned_labels_is_evaluated_after_it_was_trained_again(
    changed, run_pipeline
):
    with pytest.raises(MiramError, match="--pipeline pretrain` again"):
        run_pipeline(changed, "probe", namespaces=["supervised"])
    with pytest.raises(MiramError, match="--pipeline pretrain` again"):
        run_pipeline(changed, "finetune", namespaces=["supervised"])
    run_pipeline(changed, "pretrain", namespaces=["supervised"])
    run_pipeline(changed, "probe", namespaces=["supervised"])
    evaluated = pd.read_parquet(changed / "07_model_output/supervised/predictions.parquet")
    splits = pd.read_parquet(changed / "05_model_input/splits.parquet")
    for _, repeat in evaluated.groupby("repeat"):
        assert set(repeat["lesion_id"]) == set(splits["lesion_id"])
    assert set(evaluated["repeat"]) == {1, 2}


def test_metrics_under_the_former_splits_make_no_report(changed, run_pipeline):
    with pytest.raises(MiramError, match="evaluated under"):
        run_pipeline(changed, "report")


def test_an_encoder_that_kept_other_lesions_out_is_not_evaluated_under_the_policy(
    study, tmp_path, run_pipeline, caplog
):
    folder = tmp_path / "study"
    shutil.copytree(study, folder, ignore=shutil.ignore_patterns("mlflow"))
    run_pipeline(folder, "rois", splits={"leakage": "official"})
    with pytest.raises(MiramError, match="was trained under other splits"):
        run_pipeline(folder, "probe", namespaces=["mae"])
    run_pipeline(folder, "probe", namespaces=["random"])  # it was never trained
    # Back under its own splits it is neither trained nor encoded again.
    run_pipeline(folder, "rois")
    with caplog.at_level("INFO", logger="miram"):
        run_pipeline(folder, "pretrain", namespaces=["mae"])
        run_pipeline(folder, "probe", namespaces=["mae"])
    assert "trained before with the same settings" in caplog.text
    assert "nothing to encode" in caplog.text
