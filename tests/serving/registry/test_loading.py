"""Loading a registered model: by its number, and without making a registry that was not there."""

import pytest
import torch
from tiny import ENCODER

from miram.errors import MiramError
from miram.evaluation.features.pooling import FeatureConfig
from miram.mammography.crops.cut import CropConfig
from miram.models.checkpoints.files import EncoderCheckpoint
from miram.serving.registry.versions import load_predictor, roll_back


def test_a_failed_lookup_makes_no_registry(tmp_path):
    uri = f"sqlite:///{tmp_path}/mlflow/mlflow.db"
    with pytest.raises(MiramError, match="no model has been registered"):
        load_predictor("models:/miram-mae@champion", lambda: uri, lambda: None)
    assert not list(tmp_path.iterdir())


def test_going_back_asks_the_registry_of_the_environment_and_makes_none(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow/mlflow.db")
    with pytest.raises(MiramError, match=f"there is no {tmp_path}/mlflow/mlflow.db"):
        roll_back("mae", 2, because="none")
    assert not list(tmp_path.iterdir())


def test_an_encoder_and_a_predictor_are_taken_from_the_folders_of_a_study(tmp_path):
    def settings():
        return CropConfig(image_size=32, context=1.5), FeatureConfig()

    encoder = tmp_path / "encoder.safetensors"
    header = {"timm": ENCODER.timm_arguments}
    saved = EncoderCheckpoint.of(ENCODER.build(seed=0), header)
    saved.save(encoder / "2026-01-02T00.00.00.000Z" / encoder.name)
    loaded = load_predictor(str(encoder), str, settings)
    torch.testing.assert_close(loaded.encoder.state, saved.state, rtol=0, atol=0)
    predictor = tmp_path / "predictor"
    loaded.save(predictor / "2026-01-02T00.00.00.000Z" / predictor.name)
    assert load_predictor(str(predictor), str, settings).digest() == loaded.digest()
