"""Validation of an encoder while it trains: on validation patients, without any effect on it."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from tiny import ENCODER as TINY

from miram.evaluation.config import AssessmentConfig
from miram.mammography.crops.store import CropStore, write_store
from miram.models.methods.kinds import METHOD_KINDS
from miram.models.methods.masked_autoencoder import MaskedAutoencoderConfig
from miram.pipelines.pretrain.nodes import pretrain_encoder
from miram.pipelines.pretrain.validation import EncoderValidation
from miram.training.checkpointing.folder import TrainingFolder
from miram.training.config import TrainingConfig
from miram.training.distributed.cluster import EngineConfig

ENCODER = TINY.model_copy(update={"pixels": "half"})  # brightness is what there is to see
METHOD = MaskedAutoencoderConfig(
    decoder_dim=16,
    decoders=({"scale": 2, "attention": {"kind": "softmax"}, "depth": 1, "heads": 2},),
)
TRAINING = TrainingConfig(
    epochs=2, batch_size=8, log_every=1, validate_every=1, precision="fp32", device="cpu"
)
COUNT = 60
LABELS = np.arange(COUNT) % 2
SPLIT = np.repeat(["train", "val", "test"], 20)


def make_store(folder: Path, change: str = "") -> CropStore:
    """Bright crops are malignant, dark ones benign."""
    random = np.random.default_rng(0)
    crops = random.integers(0, 20_000, (COUNT, 32, 32)) + 40_000 * LABELS[:, None, None]
    crops[change == SPLIT] = 0
    manifest = pd.DataFrame(
        {
            "crop_id": [f"lesion{i}" for i in range(COUNT)],
            "kind": "lesion",
            "official_split": np.where(SPLIT == "test", "test", "train"),
            "patient_id": [f"P{i // 2}" for i in range(COUNT)],
        }
    )
    pieces = [{"crops": crops.astype(np.uint16), "masks": np.zeros((COUNT, 4, 4), np.uint8)}]
    write_store(folder, pieces, manifest=manifest, audit=pd.DataFrame(), parameters={}, tasks={})
    return CropStore(folder, manifest, pd.DataFrame(), {"digest": "abc"})


def lesions(labels: np.ndarray = LABELS) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "lesion_id": [f"lesion{i}" for i in range(COUNT)],
            "patient_id": [f"P{i // 2}" for i in range(COUNT)],
            "abnormality": "mass",
            "pathology": np.where(labels == 1, "MALIGNANT", "BENIGN"),
            "without_callback": False,
        }
    )


def splits() -> pd.DataFrame:
    table = lesions()[["lesion_id", "patient_id"]]
    return table.assign(strategy="official", leakage="drop", split=SPLIT, pretrain=SPLIT == "train")


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return make_store(tmp_path_factory.mktemp("store") / "crops")


def validation(store, table=None):
    rows = np.flatnonzero(SPLIT == "train")
    table = lesions() if table is None else table
    return EncoderValidation(store, rows, 32, splits(), table, AssessmentConfig())


def test_rank_and_auc_come_with_numbers_and_a_picture(store):
    model = METHOD.build(ENCODER, 0).eval()
    with torch.no_grad():
        found = validation(store)(model)
    assert 1 < found.metrics["rankme"] <= 20
    assert found.metrics["validation_auc"] == 1.0  # brightness gives the label away
    assert found.metrics["validation_lesions"] == 20
    assert found.metrics["validation_patients"] == 10
    assert found.pictures["reconstructions"].std() > 10


def test_test_patients_are_not_encoded(store, tmp_path):
    model = METHOD.build(ENCODER, 0).eval()
    other = make_store(tmp_path / "crops", change="test")
    with torch.no_grad():
        assert validation(store)(model).metrics == validation(other)(model).metrics


def test_rank_and_pictures_are_of_validation_patients_or_where_there_are_none_of_the_training(
    store, tmp_path
):
    model = METHOD.build(ENCODER, 0).eval()
    other = make_store(tmp_path / "crops", change="train")
    table = splits().assign(strategy="cv", split="fold0")
    folds = EncoderValidation(
        store, np.flatnonzero(SPLIT == "train"), 32, table, lesions(), AssessmentConfig()
    )
    with torch.no_grad():
        first, second = validation(store)(model), validation(other)(model)
        without = folds(model)
    assert first.metrics["rankme"] == second.metrics["rankme"]
    assert np.array_equal(first.pictures["reconstructions"], second.pictures["reconstructions"])
    assert set(without.metrics) == {"rankme"}
    assert without.metrics["rankme"] != first.metrics["rankme"]


def trained(store, folder, table, training=TRAINING):
    encoder, _, record = pretrain_encoder(
        store,
        splits(),
        table,
        ENCODER,
        METHOD_KINDS.model_validate(METHOD),
        training,
        AssessmentConfig(),
        EngineConfig(),
        TrainingFolder(folder),
    )
    return encoder.state, record.history


def test_neither_labels_nor_validation_change_the_weights(store, tmp_path):
    first, history = trained(store, tmp_path / "a", lesions())
    second, other = trained(store, tmp_path / "b", lesions(np.arange(COUNT) // 2 % 2))
    blind, _ = trained(
        store, tmp_path / "c", lesions(), TRAINING.model_copy(update={"validate_every": None})
    )
    assert history["validation_auc"].notna().any()
    assert not history["validation_auc"].equals(other.get("validation_auc"))
    for name, value in first.items():
        assert torch.equal(value, second[name]), name
        assert torch.equal(value, blind[name]), name
