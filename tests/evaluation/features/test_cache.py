"""Features know what they came from, and any change of it gives them another name."""

import numpy as np
import pandas as pd
import pytest

from miram.evaluation.features import extract
from miram.evaluation.features.extract import ORIGIN, TRAINED_ON, encoder_digest, feature_origin
from miram.evaluation.features.pooling import FeatureConfig
from miram.mammography.crops.store import CropStore, write_store
from miram.models.checkpoints.files import EncoderCheckpoint
from miram.models.checkpoints.split_record import SPLITS, split_record
from miram.models.encoder import EncoderConfig
from miram.pipelines.probe.nodes import encode_lesions

ENCODER = EncoderConfig(
    name="vit_tiny_patch16_224", image_size=32, patch_size=8, overrides={"depth": 1}
)
NAMES = pd.Series([f"lesion{i}" for i in range(4)])


@pytest.fixture
def checkpoint():
    return EncoderCheckpoint.of(ENCODER.build(0), {"timm": ENCODER.timm_arguments})


def store(folder, seed=0):
    pixels = np.random.default_rng(seed).integers(0, 2**16, (4, 32, 32), np.uint16)
    manifest = pd.DataFrame({"crop_id": NAMES, "kind": "lesion", "patient_id": NAMES})
    pieces = [{"crops": pixels, "masks": np.zeros((4, 4, 4), np.uint8)}]
    audit = pd.DataFrame({"code": []})
    write_store(folder, pieces, manifest=manifest, audit=audit, parameters={}, tasks={})
    return CropStore.open(folder)


def splits(names=NAMES):
    columns = {"split": "train", "strategy": "official", "leakage": "drop"}
    return pd.DataFrame({"lesion_id": names}).assign(**columns)


def test_the_table_is_of_the_lesions_asked_and_a_file_keeps_its_origin(checkpoint, tmp_path):
    crops = store(tmp_path / "crops")
    table = encode_lesions(checkpoint, crops, splits(NAMES[[2, 0]]), FeatureConfig(), None)
    assert table["lesion_id"].tolist() == ["lesion2", "lesion0"]
    table.to_parquet(tmp_path / "features.parquet")
    origin = feature_origin(checkpoint, crops, NAMES[[2, 0]], FeatureConfig())
    assert pd.read_parquet(tmp_path / "features.parquet").attrs[ORIGIN] == origin


def test_a_change_of_encoder_crops_lesions_or_settings_changes_the_origin(checkpoint, tmp_path):
    crops, config = store(tmp_path / "crops"), FeatureConfig()
    origin = feature_origin(checkpoint, crops, NAMES, config)
    name, weights = next(iter(checkpoint.state.items()))
    turned = EncoderCheckpoint({**checkpoint.state, name: -weights}, checkpoint.metadata)
    pixels = EncoderCheckpoint(checkpoint.state, {**checkpoint.metadata, "pixel_mean": 0.4})
    others = [
        feature_origin(turned, crops, NAMES, config),
        feature_origin(pixels, crops, NAMES, config),
        feature_origin(checkpoint, store(tmp_path / "other", seed=1), NAMES, config),
        feature_origin(checkpoint, crops, NAMES[:3], config),
        feature_origin(checkpoint, crops, NAMES, FeatureConfig(pooling="cls")),
        feature_origin(checkpoint, crops, NAMES, FeatureConfig(symmetries=8)),
    ]
    assert all(other != origin for other in others)


def test_an_older_store_that_the_encoder_was_trained_on_is_named(checkpoint, tmp_path):
    crops = store(tmp_path / "crops")
    for digest, record, named in (
        ("older", {"apart": "x"}, "older"),
        (crops.digest, {"apart": "x"}, None),
        ("older", None, None),  # it was not trained here
    ):
        facts = {**checkpoint.metadata, "data_digest": digest, SPLITS: record}
        trained = EncoderCheckpoint(checkpoint.state, facts)
        assert feature_origin(trained, crops, NAMES, FeatureConfig()).get(TRAINED_ON) == named


def test_the_probe_warns_of_an_older_store(checkpoint, tmp_path, caplog):
    facts = {"data_digest": "older", SPLITS: split_record(splits(), by_part=False)}
    trained = EncoderCheckpoint(checkpoint.state, {**checkpoint.metadata, **facts})
    crops = store(tmp_path / "crops")
    table = encode_lesions(trained, crops, splits(), FeatureConfig(), None)
    assert table.attrs["origin"][TRAINED_ON] == "older"
    assert f"trained on the crops older, those at hand are {crops.digest}" in caplog.text


def test_a_change_of_the_code_of_features_changes_the_origin(checkpoint, tmp_path, monkeypatch):
    crops = store(tmp_path / "crops")
    origin = feature_origin(checkpoint, crops, NAMES, FeatureConfig())
    monkeypatch.setattr(extract, "code_digest", lambda *packages: f"edited {packages}")
    other = feature_origin(checkpoint, crops, NAMES, FeatureConfig())
    assert {name for name in origin if origin[name] != other[name]} == {"code"}


def test_what_does_not_change_features_does_not_change_the_origin(checkpoint, tmp_path):
    crops = store(tmp_path / "crops")
    origin = feature_origin(checkpoint, crops, NAMES, FeatureConfig())
    reported = EncoderCheckpoint(checkpoint.state, {**checkpoint.metadata, "license": "x"})
    again = feature_origin(reported, crops, NAMES[::-1], FeatureConfig(batch_size=2))
    assert again == origin


def test_the_origin_records_the_splits_under_which_the_encoder_was_trained(checkpoint, tmp_path):
    crops = store(tmp_path / "crops")
    assert "splits" not in feature_origin(checkpoint, crops, NAMES, FeatureConfig())
    record = {"strategy": "official", "leakage": "drop", "sides": "abc"}
    reported = EncoderCheckpoint(checkpoint.state, {**checkpoint.metadata, "splits": record})
    assert feature_origin(reported, crops, NAMES, FeatureConfig())["splits"] == record


def test_the_digest_is_of_every_weight_whatever_its_type(checkpoint):
    digests = {encoder_digest(checkpoint)}
    for name, weights in checkpoint.state.items():
        changed = weights.clone()
        changed.view(-1)[-1] += 1
        digests.add(encoder_digest(EncoderCheckpoint({**checkpoint.state, name: changed}, {})))
    half = {name: weights.bfloat16() for name, weights in checkpoint.state.items()}
    digests.add(encoder_digest(EncoderCheckpoint(half, checkpoint.metadata)))
    assert len(digests) == len(checkpoint.state) + 2
