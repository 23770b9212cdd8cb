"""`miram predict`: a table of probabilities for people, the same for machines."""

import json
from functools import partial

import numpy as np
import pytest
from miram_command import call_miram
from PIL import Image
from project_paths import PROJECT
from small_predictor import make_predictor

from miram.evaluation.features.crop_encoder import CropEncoder, encode_crops
from miram.mammography.crops.cut import ImageTask, LesionTask, cut_image
from miram.mammography.crops.geometry import Box

run = partial(call_miram, "predict")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model") / "predictor"
    make_predictor().save(folder)
    return folder


@pytest.fixture
def image(tmp_path):
    texture = np.random.default_rng(0).integers(80, 200, (400, 300), dtype=np.uint8)
    texture[:, 200:] = 0
    path = tmp_path / "a.png"
    Image.fromarray(texture).save(path)
    return path


def test_the_probabilities_are_those_of_the_probe_for_the_crop_of_the_box(model, image, capsys):
    assert run(image, "--model", model, "--box", "40,60,100,130", "--json") == 0
    reported = json.loads(capsys.readouterr().out)
    predictor = make_predictor()
    task = ImageTask("a", image.name, "", (LesionTask("box", (), Box(40, 60, 100, 130)),))
    crops = predictor.crops.model_copy(update={"backgrounds_per_image": 0})
    cut = cut_image(task, image.parent, crops)
    features = encode_crops(
        CropEncoder(predictor.encoder, predictor.features).eval(), cut.crops, cut.masks
    )
    (expected,) = predictor.probe.probabilities(features)
    (row,) = reported["images"]
    assert row["kind"] == "lesion"
    assert list(row["probabilities"]) == list(predictor.probe.classes)
    assert list(row["probabilities"].values()) == pytest.approx(expected.tolist(), abs=1e-6)


def test_a_table_has_a_row_for_each_image_and_says_that_it_is_for_research(model, image, capsys):
    assert run(image, image, "--model", model) == 0
    reported = capsys.readouterr().out
    assert reported.count("4 patches of the breast") == 2
    assert "Research use only. Not a medical device." in reported


def test_a_picture_of_each_image_shows_what_spoke_for_the_answer(model, image, tmp_path, capsys):
    folder = tmp_path / "pictures"
    boxes = ["--box", "40,60,100,130", "--box", "10,20,80,90"]
    assert run(image, image, "--model", model, *boxes, "--explain", folder, "--json") == 0
    rows = json.loads(capsys.readouterr().out)["images"]
    assert [row["explained"] for row in rows] == ["malignant"] * 2
    pictures = [np.asarray(Image.open(row["picture"]).convert("RGB"), int) for row in rows]
    assert not np.array_equal(*pictures)
    for picture in pictures:  # half of it is the crop in grey, the other has colors over it
        half = picture.shape[1] // 3
        assert np.ptp(picture[:, :half], axis=2).max() == 0
        assert np.ptp(picture[:, half:], axis=2).max() > 30
    assert run(image, "--model", model, "--explain", folder) == 0
    reported = " ".join(capsys.readouterr().out.split())
    assert "1_a.png: what spoke for malignant (red) and against it (blue)" in reported


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--box", "1,2,3"], "box is [x0, y0, x1, y1]"),
        (["--box", "a,b"], "--box a,b: give x0,y0,x1,y1"),
        (["--box", "1,2,30,40", "--box", "1,2,30,40"], "1 images and 2 boxes"),
        (["--box", "900,900,950,950"], "has no pixel in an image of 300 columns and 400 rows"),
    ],
)
def test_a_box_that_cannot_be_is_refused(model, image, capsys, arguments, message):
    assert run(image, "--model", model, *arguments) == 1
    reported = capsys.readouterr()
    assert reported.out == "" and message in reported.err and reported.err.count("\n") == 1


def test_a_file_that_is_no_image_is_named(model, tmp_path, capsys):
    path = tmp_path / "a.txt"
    path.write_text("no image")
    assert run(path, "--model", model) == 1
    assert f"miram: {path}: " in capsys.readouterr().err
    assert run(tmp_path / "b.dcm", "--model", model) == 1
    assert f"miram: {tmp_path}/b.dcm: " in capsys.readouterr().err


def test_an_encoder_alone_has_no_probabilities(model, image, monkeypatch, capsys):
    monkeypatch.chdir(PROJECT)
    assert run(image, "--model", model / "encoder.safetensors") == 1
    assert "is an encoder alone, which has no probabilities" in capsys.readouterr().err
