"""The crop store in the catalog."""

import base64
import io

import numpy as np
import pandas as pd
import pytest
from kedro.io import DatasetError
from PIL import Image

from miram.integrations.datasets.crop_store import CropStoreDataset
from miram.mammography.crops.cut import CropConfig
from miram.mammography.crops.plan import build_crop_store, plan_crops
from miram.reporting.charts.images import contact_sheet


@pytest.fixture
def plan(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 255, (200, 200)).astype(np.uint8)
    mask = np.zeros((200, 200), np.uint8)
    mask[80:120, 90:130] = 255
    for name, picture in (("film", pixels), ("unmarked", pixels), ("mask", mask)):
        Image.fromarray(picture).save(tmp_path / f"{name}.png")
    rows = [{"lesion_id": f"L{i}", "mask_paths": ["mask.png"] if i < 3 else []} for i in range(4)]
    table = pd.DataFrame(rows).assign(image_path="film.png", patient_id="P_1")
    table.loc[3, "image_path"] = "unmarked.png"
    table["image_id"] = table["lesion_id"]
    config = CropConfig(image_size=32, context=1.25, backgrounds_per_image=1)
    return plan_crops(table, tmp_path, config)


def test_a_store_that_was_built_is_accepted_and_opened_and_no_other(plan, tmp_path):
    dataset = CropStoreDataset(str(tmp_path / "store" / "crops"))
    assert not dataset.exists()
    dataset.save(build_crop_store(plan, tmp_path / "store" / "crops"))
    assert dataset.exists()
    store = dataset.load()
    assert store.info["lesions"] == 3 and len(store.crops) == len(store.manifest)
    with pytest.raises(DatasetError, match="`crops` and `crop_folder` name the same folder"):
        dataset.save(build_crop_store(plan, tmp_path / "elsewhere"))


def test_loading_before_saving_says_what_to_run(tmp_path):
    with pytest.raises(DatasetError, match="kedro run --pipeline rois"):
        CropStoreDataset(str(tmp_path / "crops")).load()


def test_the_preview_is_a_picture_of_the_lesions(plan, tmp_path):
    dataset = CropStoreDataset(str(tmp_path / "crops"))
    build_crop_store(plan, tmp_path / "crops")
    picture = Image.open(io.BytesIO(base64.b64decode(dataset.preview())))
    assert picture.size == (3 * 98 - 2, 96)


def test_a_contact_sheet_shows_the_crops_in_their_order(plan, tmp_path):
    store = build_crop_store(plan, tmp_path / "crops")
    sheet = np.asarray(contact_sheet(store, columns=2, rows=5, size=32))
    assert sheet.shape == (66, 66)
    lesions = np.flatnonzero(store.manifest["kind"] == "lesion")
    for position, corner in zip(lesions, ((0, 0), (0, 34), (34, 0)), strict=True):
        shown = sheet[corner[0] : corner[0] + 32, corner[1] : corner[1] + 32]
        assert (shown == store.crops[position] >> 8).all()


def test_a_contact_sheet_of_patches_alone_shows_them(plan, tmp_path):
    lonely = type(plan)(plan.tasks[3:], plan.config, plan.raw_root)
    store = build_crop_store(lonely, tmp_path / "crops")
    assert contact_sheet(store, columns=8, rows=5).size == (96, 96)
