"""Crops of a posted DICOM file: those of training, or a reason that the sender can mend."""

import io

import numpy as np
import pydicom
import pytest
import small_predictor as small

from miram.errors import MiramError
from miram.mammography.crops.cut import ImageTask, LesionTask, cut_image
from miram.mammography.crops.geometry import Box
from miram.mammography.decoding.headers import read_header
from miram.mammography.sources import make_source
from miram.serving.requests import cut_posted

SETTINGS = small.make_predictor().settings()


@pytest.fixture(scope="module")
def mammogram(tiny_phantom):
    return tiny_phantom / make_source("phantom").ingest(tiny_phantom).lesions["image_path"].iloc[0]


def test_a_box_is_cut_as_for_training(mammogram):
    box = [200, 150, 260, 230]
    found = cut_posted(mammogram.read_bytes(), box, SETTINGS)
    task = ImageTask("any", mammogram.name, "", (LesionTask("lesion", (), Box(*box)),))
    config = small.CROPS.model_copy(update={"backgrounds_per_image": 0})
    expected = cut_image(task, mammogram.parent, config)
    np.testing.assert_array_equal(found.crops, expected.crops)
    np.testing.assert_array_equal(found.masks, expected.masks)
    assert found.squares == [
        [expected.rows[0][f"crop_{side}"] for side in ("x0", "y0", "x1", "y1")]
    ]
    assert found.masks.any()


def test_without_a_box_it_is_patches_of_the_breast_always_the_same(mammogram):
    found = cut_posted(mammogram.read_bytes(), None, SETTINGS)
    again = cut_posted(mammogram.read_bytes(), None, SETTINGS)
    np.testing.assert_array_equal(found.crops, again.crops)
    assert len(found.crops) == len(found.squares) == 4 and not found.masks.any()
    name = read_header(mammogram).sop_instance_uid
    task = ImageTask(name, mammogram.name, "", ())
    expected = cut_image(task, mammogram.parent, small.CROPS)
    np.testing.assert_array_equal(found.crops, expected.crops)


@pytest.mark.parametrize(
    ("box", "words"),
    [
        ([0, 0, 10], "four numbers"),
        ("here", "four numbers"),
        ([0, 0, float("nan"), 5], "four numbers"),
        ("1234", "four numbers"),
        (["1", "2", "30", "40"], "four numbers"),
        ([True, 2, 30, 40], "four numbers"),
        ([1, 2, 30, 40, 50], "four numbers"),
        ([50, 50, 50, 90], "has no pixel"),
        ([-20, 0, 0, 10], "has no pixel"),
        ([0.31, 0.42, 1.0, 1.0], "in parts of the image: give it in pixels"),
        ([90_000, 0, 90_010, 10], "has no pixel"),
    ],
)
def test_a_box_that_is_none_is_refused(mammogram, box, words):
    with pytest.raises(MiramError, match=words):
        cut_posted(mammogram.read_bytes(), box, SETTINGS)


def test_what_the_audit_of_crops_would_say_is_in_the_notes(mammogram):
    """A box in the air, a flat crop, padding and a window that is none."""
    dataset = pydicom.dcmread(mammogram)
    pixels = dataset.pixel_array.copy()
    breast_on_left = pixels[:, :40].mean() > pixels[:, -40:].mean()
    pixels[:20, :20] = 65_535
    dataset.PixelData = pixels.tobytes()
    dataset.add_new("PixelPaddingValue", "US", 65_535)
    dataset.WindowCenter, dataset.WindowWidth = "5", "0"
    rows, columns = pixels.shape
    x0 = columns - 60 if breast_on_left else 20
    notes = cut_posted(saved(dataset), [x0, rows - 60, x0 + 40, rows - 20], SETTINGS).notes
    codes = [note.rpartition("(")[2].rstrip(")") for note in notes]
    assert {"odd_window", "padding", "outside_breast"} <= set(codes)
    sound = cut_posted(mammogram.read_bytes(), [200, 150, 260, 230], SETTINGS)
    assert not any(
        word in note for note in sound.notes for word in ("outside", "padding", "window")
    )


def test_parts_of_pixels_are_rounded_outwards_as_for_training(mammogram):
    given = cut_posted(mammogram.read_bytes(), [200.9, 150.2, 259.1, 229.5], SETTINGS)
    whole = cut_posted(mammogram.read_bytes(), [200, 150, 260, 230], SETTINGS)
    np.testing.assert_array_equal(given.crops, whole.crops)


def test_a_box_over_the_edge_is_clipped_and_said_to_be(mammogram):
    rows = read_header(mammogram).rows
    over = cut_posted(mammogram.read_bytes(), [10, rows - 40, 60, rows + 40], SETTINGS)
    inside = cut_posted(mammogram.read_bytes(), [10, rows - 40, 60, rows], SETTINGS)
    np.testing.assert_array_equal(over.crops, inside.crops)
    assert f"and {rows} rows; only what is inside was taken" in over.notes[0]
    assert inside.notes == over.notes[1:]


def changed(path, **tags):
    """The content of a file with other tags."""
    dataset = pydicom.dcmread(path)
    for name, value in tags.items():
        setattr(dataset, name, value)
    return saved(dataset)


def saved(dataset):
    file = io.BytesIO()
    dataset.save_as(file)
    return file.getvalue()


@pytest.mark.parametrize(
    ("tags", "words"),
    [
        ({"Modality": "CT"}, "modality CT: this model reads MG"),
        ({"Modality": ""}, "modality not given: this model reads MG"),
        ({"PresentationIntentType": "FOR PROCESSING"}, "reads processed ones"),
        ({"SeriesDescription": "cropped images"}, "reads whole mammograms"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.2"}, "tomosynthesis.* reads ordinary mammograms"),
    ],
)
@pytest.mark.parametrize("box", [None, [200, 150, 260, 230]])
def test_what_the_folder_source_leaves_out_is_refused(mammogram, tags, words, box):
    with pytest.raises(MiramError, match=words):
        cut_posted(changed(mammogram, **tags), box, SETTINGS)


def test_a_model_says_which_images_it_reads(mammogram):
    wanted = {"modalities": ["MG", "CR"], "for_processing": True}
    settings = {**SETTINGS, "wanted": wanted}
    for tags in ({"Modality": "CR"}, {"PresentationIntentType": "FOR PROCESSING"}):
        assert len(cut_posted(changed(mammogram, **tags), None, settings).crops) == 4
    with pytest.raises(MiramError, match="modality CT: this model reads MG, CR"):
        cut_posted(changed(mammogram, Modality="CT"), None, settings)


def test_a_model_registered_before_it_could_say_reads_mammograms_alone(mammogram):
    before = {name: value for name, value in SETTINGS.items() if name != "wanted"}
    assert len(cut_posted(mammogram.read_bytes(), None, before).crops) == 4
    with pytest.raises(MiramError, match="modality CT"):
        cut_posted(changed(mammogram, Modality="CT"), None, before)


def test_no_real_image_of_another_kind_gets_crops(shared_data):
    """CT, MR, ultrasound, nuclear medicine, radiographs of hands: all had got probabilities."""
    paths = sorted((shared_data / "dicom_awkward").glob("*.dcm"))
    assert len(paths) > 20
    for path in paths:
        with pytest.raises(MiramError):
            cut_posted(path.read_bytes(), None, SETTINGS)


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"", "no bytes"), (b"hello", "no DICOM header"), (b"\x89PNG\r\n\x1a\n", "DICOM")],
)
def test_what_is_no_mammogram_is_refused_without_a_path_of_the_server(content, words):
    with pytest.raises(MiramError, match=words) as caught:
        cut_posted(content, None, SETTINGS)
    assert "/tmp" not in str(caught.value) and "posted" not in str(caught.value)


def test_a_file_that_breaks_off_is_refused(mammogram):
    with pytest.raises(MiramError, match="download it again"):
        cut_posted(mammogram.read_bytes()[:-2000], None, SETTINGS)


def test_a_model_for_other_crops_is_refused(mammogram):
    with pytest.raises(MiramError, match="made for crops of version 1"):
        cut_posted(mammogram.read_bytes(), None, {**SETTINGS, "cropping_version": 1})
