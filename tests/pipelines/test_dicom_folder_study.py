"""A folder of mammograms without labels: pretraining, and features of other mammograms."""

import numpy as np
import pandas as pd
import pytest
from dicom_files import write_dicom
from miram_command import call_miram

from miram.mammography.crops.store import CropStore

FILMS = 20


def write_films(folder, first):
    """Films of breasts without a finding, one of each patient, and a report among them."""
    random = np.random.default_rng(first)
    rows, columns = np.mgrid[:300, :200]
    breast = columns < 150 - 0.002 * (rows - 150) ** 2
    for number in range(first, first + FILMS):
        grey = breast * (20_000 + 9_000 * random.random(breast.shape))
        about = {"SOPInstanceUID": f"1.2.77.{number}", "PatientID": f"p{number}"}
        about |= {"ViewPosition": "MLO", "ImageLaterality": "L"}
        write_dicom(folder / f"{number}.dcm", grey.astype(np.uint16), **about)
    write_dicom(folder / "report.dcm", Modality="SR", SOPInstanceUID="1.2.78")
    return folder


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory, run_pipeline):
    films = write_films(tmp_path_factory.mktemp("screening"), first=0)
    data_root = tmp_path_factory.mktemp("folder_study")
    for name in ("ingest", "rois"):
        run_pipeline(data_root, name, source="dicom_folder", raw_root=str(films))
    # As docs/bring_your_own_data.md does, the last command names data_root alone.
    run_pipeline(data_root, "pretrain", namespaces=["mae", "miram_nystrom"])
    return data_root


def test_encoders_are_trained_on_breast_patches_alone(pretrained):
    store = CropStore.open(pretrained / "05_model_input/crops")
    assert set(store.manifest["kind"]) == {"background"} and len(store.crops) >= FILMS
    for method in ("mae", "miram_nystrom"):
        history = pd.read_csv(pretrained / f"06_models/{method}/history.csv")
        assert len(history) and np.isfinite(history["loss"]).all()
    audit = pd.read_csv(pretrained / "02_intermediate/ingest_audit.csv")
    assert audit["code"].tolist() == ["other_modality"]


def test_what_comes_next_needs_no_lesions(pretrained, run_pipeline, caplog):
    caplog.set_level("INFO")
    run_pipeline(pretrained, "pretrain", namespaces=["mae"])
    assert "miram embed FOLDER --model" in caplog.messages[-1]


def test_an_encoder_of_such_a_study_gives_features_of_other_films(pretrained, tmp_path):
    others = write_films(tmp_path / "others", first=FILMS)
    model, out = pretrained / "06_models/mae/encoder.safetensors", tmp_path / "features.parquet"
    assert call_miram("embed", others, "--model", model, "--out", out) == 0
    features = pd.read_parquet(out)
    assert features.filter(like="f").select_dtypes("number").notna().all().all()
    assert features["image_id"].nunique() == FILMS
