"""Which crops stand for a mammogram, and that none of them is missing without a reason."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from miram.errors import MiramError
from miram.mammography.crops.cut import CROPPING_VERSION, CropConfig, ImageTask
from miram.mammography.crops.plan import plan_crops
from miram.mammography.sources import make_source
from miram.serving.requests import cut_regions, require_cropping

CONFIG = CropConfig(image_size=32, context=1.25, backgrounds_per_image=3)


@pytest.fixture(scope="module")
def lesions(tiny_phantom):
    return make_source("phantom").ingest(tiny_phantom).lesions


def test_marked_lesions_come_without_patches_and_unmarked_images_as_patches(tiny_phantom, lesions):
    task = plan_crops(lesions, tiny_phantom, CONFIG).tasks[0]
    marked = cut_regions(task, tiny_phantom, CONFIG)
    assert [row["crop_id"] for row in marked.rows] == [found.lesion_id for found in task.lesions]
    unmarked = ImageTask(task.image_id, task.image_path, task.patient_id, ())
    assert len(cut_regions(unmarked, tiny_phantom, CONFIG).rows) == 3


def test_an_image_with_a_lesion_of_unknown_place_is_looked_at_all_the_same(tiny_phantom, lesions):
    task = plan_crops(lesions, tiny_phantom, CONFIG).tasks[0]
    doubtful = replace(task, lesions=(), no_backgrounds="a lesion is somewhere")
    assert len(cut_regions(doubtful, tiny_phantom, CONFIG).rows) == 3


def test_an_image_without_a_breast_is_left_out_with_a_reason(tmp_path):
    image = np.zeros((400, 400), np.uint8)
    image[180:204, 180:204] = 150  # smaller than a patch of tissue, which has 30 pixels
    Image.fromarray(image).save(tmp_path / "spot.png")
    cut = cut_regions(ImageTask("spot", "spot.png", "", ()), tmp_path, CONFIG)
    assert not cut.rows
    assert [(row["code"], row["action"]) for row in cut.problems] == [
        ("few_backgrounds", "left out")
    ]


def test_an_unreadable_file_has_one_row_as_before(tiny_phantom):
    cut = cut_regions(ImageTask("none", "not/there.dcm", "", ()), tiny_phantom, CONFIG)
    assert [(row["code"], row["action"]) for row in cut.problems] == [
        ("image_not_found", "left out")
    ]


def test_only_crops_of_this_version_are_taken():
    require_cropping(CROPPING_VERSION)
    with pytest.raises(MiramError, match=f"this miram cuts version {CROPPING_VERSION}"):
        require_cropping(CROPPING_VERSION - 1)
