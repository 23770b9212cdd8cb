"""A predictor on disk: whole, the same when it comes back, refused where it would not fit."""

import dataclasses
import json

import pytest
import small_predictor as small

from miram.errors import MiramError
from miram.evaluation.features.pooling import FeatureConfig
from miram.files import recorded_path
from miram.mammography.sources.wanted import WantedImages
from miram.serving.predictor import Predictor


def test_it_comes_back_as_it_was_saved(tmp_path):
    wanted = WantedImages(modalities=("MG", "CR"), for_processing=True)
    predictor = dataclasses.replace(small.make_predictor(), wanted=wanted)
    predictor.save(tmp_path / "predictor")
    again = Predictor.load(tmp_path / "predictor")
    assert again.digest() == predictor.digest()
    assert (again.features, again.crops) == (predictor.features, predictor.crops)
    assert again.wanted == wanted
    assert again.about == {"method": "mae", "data_digest": "0123"}
    assert {path.name for path in (tmp_path / "predictor").iterdir()} == {
        "encoder.safetensors",
        "probe.npz",
        "settings.json",
        ".sha256",
    }


def test_without_a_probe_it_gives_features_alone(tmp_path):
    predictor = dataclasses.replace(small.make_predictor(), probe=None)
    predictor.save(tmp_path / "predictor")
    assert Predictor.load(tmp_path / "predictor").probe is None


def test_the_digest_distinguishes_weights_probe_and_settings():
    predictor = small.make_predictor()
    weights = {name: value.clone() for name, value in predictor.encoder.state.items()}
    weights["norm.bias"][0] += 1e-3
    encoder = dataclasses.replace(predictor.encoder, state=weights)
    fitted = predictor.probe.classifier
    moved = dataclasses.replace(fitted, intercepts=fitted.intercepts + 0.1)
    probe = dataclasses.replace(predictor.probe, classifier=moved)
    others = [
        dataclasses.replace(predictor, encoder=encoder),
        dataclasses.replace(predictor, features=FeatureConfig(symmetries=8)),
        dataclasses.replace(predictor, crops=predictor.crops.model_copy(update={"context": 2.0})),
        dataclasses.replace(predictor, probe=probe),
        dataclasses.replace(predictor, wanted=WantedImages(modalities=("CR",))),
    ]
    digests = {found.digest() for found in (predictor, *others)}
    assert len(digests) == 6
    assert small.make_predictor().digest() == predictor.digest()


def test_crops_of_another_version_are_refused(tmp_path):
    small.make_predictor().save(tmp_path / "predictor")
    path = tmp_path / "predictor" / "settings.json"
    settings = json.loads(path.read_text())
    with recorded_path(path) as other:
        other.write_text(json.dumps({**settings, "cropping_version": 1}))
    with pytest.raises(MiramError, match="made for crops of version 1"):
        Predictor.load(tmp_path / "predictor")


@pytest.mark.parametrize(
    "damaged", [[], {"crops": []}, {"features": None}, {"features": {"pooling": None}}]
)
def test_settings_of_another_shape_are_refused_in_words(damaged, tmp_path):
    small.make_predictor().save(tmp_path / "predictor")
    path = tmp_path / "predictor" / "settings.json"
    settings = json.loads(path.read_text())
    with recorded_path(path) as other:
        other.write_text(json.dumps({**settings, **damaged} if damaged else damaged))
    with pytest.raises(MiramError):
        Predictor.load(tmp_path / "predictor")


def test_a_folder_that_holds_no_predictor_is_named(tmp_path):
    with pytest.raises(MiramError, match=f"no predictor at {tmp_path}"):
        Predictor.load(tmp_path)


def test_settings_say_research_use_only_and_hold_what_a_server_needs():
    settings = small.make_predictor("mean+lesion").settings()
    assert "Research use only" in settings["notice"]
    assert settings["reads_masks"] is True
    assert settings["crops"]["side"] == 64 and settings["mask_cells"] == 8
    assert settings["classes"] == ["benign", "malignant"]
    assert json.loads(json.dumps(settings)) == settings
