"""The same pipelines on the real mammograms in the Kaggle layout."""

import pandas as pd
import pytest

from miram.mammography.crops.store import CropStore

METHODS = ("random", "supervised", "mae")


@pytest.fixture(scope="module")
def real_study(tmp_path_factory, run_pipeline, shared_data):
    data_root = tmp_path_factory.mktemp("real")
    given = {"source": "cbis_ddsm", "raw_root": str(shared_data / "cbis_ddsm")}
    run_pipeline(data_root, methods="+".join(METHODS), **given)
    return data_root


def test_sixty_lesions_of_49_mammograms_are_cut(real_study):
    lesions = pd.read_parquet(real_study / "02_intermediate/lesions.parquet")
    assert len(lesions) == 60
    assert lesions["image_id"].nunique() == 49
    manifest = CropStore.open(real_study / "05_model_input/crops").manifest
    assert (manifest["kind"] == "lesion").sum() == 60
    assert set(manifest["source_bits"]) == {8}


def test_the_absent_lesions_are_counted_by_reason(real_study):
    audit = pd.read_csv(real_study / "02_intermediate/ingest_audit.csv")
    left_out = audit[audit["lesion_id"].notna() & (audit["action"] == "left out")]
    assert left_out["code"].value_counts().to_dict() == {"image_missing": 3508}
    assert left_out["lesion_id"].nunique() == 3508


def test_no_phantom_is_written(real_study):
    assert not (real_study / "01_raw").exists()


def test_patients_are_cross_validated_and_each_lesion_is_evaluated_once(real_study):
    splits = pd.read_parquet(real_study / "05_model_input/splits.parquet")
    assert (splits["strategy"] == "cv").all()
    assert splits.groupby("patient_id")["split"].nunique().max() == 1
    for method in METHODS:
        predictions = pd.read_parquet(real_study / f"07_model_output/{method}/predictions.parquet")
        assert sorted(predictions["lesion_id"]) == sorted(splits["lesion_id"])


def test_the_report_says_that_encoders_saw_the_patients(real_study):
    page = (real_study / "08_reporting/report.html").read_text(encoding="utf-8")
    assert "without labels" in page
