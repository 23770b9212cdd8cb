"""The resolver against the true Kaggle names of all 1,696 mass lesions of CBIS-DDSM."""

import io
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from project_paths import SHARED_DATA

from miram.mammography.sources.cbis_ddsm.case_tables import parse_cbis_path
from miram.mammography.sources.cbis_ddsm.file_roles import FileResolver, is_two_valued
from miram.mammography.sources.cbis_ddsm.layouts import index_series

CBIS = SHARED_DATA / "cbis_ddsm"
pytestmark = pytest.mark.skipif(not CBIS.is_dir(), reason=f"CBIS-DDSM is not at {CBIS}")
SHRINK = 20  # sizes are those of the real files divided by this
DIFFERENT_SERIES = 103


def resolved_files(resolver, row):
    """The files of a lesion; image and masks by their paths."""
    files = resolver.resolve(row.image.series_uid, row.crop.series_uid, row.mask.series_uid)
    full = files.full and files.full.path
    return replace(files, full=full, masks=tuple(mask.path for mask in files.masks))


@pytest.fixture(scope="module")
def key():
    """One row per mass lesion: its three series and the names and sizes of its real files."""
    table = pd.read_csv(CBIS / "csv" / "kaggle_mass_path_map.csv")
    tables = {name: pd.read_csv(CBIS / "csv" / name) for name in table.csv.unique()}
    for role, column in (
        ("image", "image file path"),
        ("crop", "cropped image file path"),
        ("mask", "ROI mask file path"),
    ):
        table[role] = [
            parse_cbis_path(tables[name][column][row])
            for name, row in zip(table.csv, table.csv_row, strict=True)
        ]
    for role in ("image", "mask"):
        table[f"{role}_file"] = table[f"{role}_jpeg"].str.removeprefix("CBIS-DDSM/")
    return table


def sizes_of(key):
    """Give every full image a size within the real range, the known ones their own."""
    generator = np.random.default_rng(0)
    known = key.dropna(subset=["image_w"]).drop_duplicates("image_file").set_index("image_file")
    return {
        name: (int(known.image_w[name]), int(known.image_h[name]))
        if name in known.index
        else tuple(int(n) for n in generator.integers((2041, 3946), (4892, 6872)))
        for name in key.image_file.unique()
    }


@cache
def encoded(kind, width, height):
    levels = np.linspace(40, 215, width * height).reshape(height, width)
    if kind == "mask":
        levels = np.zeros((height, width))
        levels[height // 3 : height // 3 + 10, width // 3 : width // 3 + 10] = 255
    buffer = io.BytesIO()
    Image.fromarray(levels.astype(np.uint8)).save(buffer, "JPEG")
    return buffer.getvalue()


@pytest.fixture(scope="module")
def tree(key, tmp_path_factory):
    """A small Kaggle tree with every file of every mass lesion, and the rows of dicom_info."""
    root = tmp_path_factory.mktemp("kaggle")
    sizes, generator, info = sizes_of(key), np.random.default_rng(1), []

    def write(name, kind, width, height, path):
        file = root / name
        if not file.exists():
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(encoded(kind, max(width // SHRINK, 1), max(height // SHRINK, 1)))
            text = {"mask": "ROI mask images", "crop": "cropped images"}
            info.append(
                {
                    "image_path": f"CBIS-DDSM/{name}",
                    "SeriesInstanceUID": path.series_uid,
                    "SeriesDescription": text.get(kind, "full mammogram images"),
                    "BitsAllocated": 8 if kind == "mask" else 16,
                    "PatientID": path.folder,
                }
            )

    for row in key.itertuples():
        width, height = sizes[row.image_file]
        write(row.image_file, "full", width, height, row.image)
        mask_size = (int(row.mask_w), int(row.mask_h)) if row.size_mismatch else (width, height)
        write(row.mask_file, "mask", *mask_size, row.mask)
        # The crop has the other prefix in a shared folder, and repeats names across folders.
        shared = row.crop.series_uid == row.mask.series_uid
        prefix = "2" if shared and Path(row.mask_file).name.startswith("1") else "1"
        crop_name = f"jpeg/{row.crop.series_uid}/{prefix}-001.jpg"
        write(crop_name, "crop", *generator.integers(149, 799, 2), row.crop)
    return root, pd.DataFrame(info)


def check_against_key(key, root):
    resolver = FileResolver(index_series(root))
    wrong, notes = [], []
    for row in key.itertuples():
        files = resolved_files(resolver, row)
        found = (files.full, files.masks)
        if found != (root / row.image_file, (root / row.mask_file,)):
            wrong.append((row.image_file, row.mask_file, found))
        if files.crop is None or files.crop.parent.name != row.crop.series_uid:
            wrong.append((row.crop, files.crop))
        notes += files.notes
    assert wrong == []
    return resolver.index, notes


def test_the_key_is_the_one_described(key):
    assert len(key) == 1318 + 378
    assert key.size_mismatch.sum() == 78
    different = [c.series_uid != m.series_uid for c, m in zip(key.crop, key["mask"], strict=True)]
    assert sum(different) == DIFFERENT_SERIES
    train = key[key.csv.str.contains("train")]
    assert train.mask_file.str.contains("/1-").sum() == 677


def test_all_lesions_are_resolved_by_size_without_the_header_table(key, tree):
    index, notes = check_against_key(key, tree[0])
    assert sum(map(len, index.files.values())) == 1592 + 2 * 1696
    assert notes == []


def test_all_lesions_are_resolved_with_the_header_table(key, tree):
    root, info = tree
    table = root / "csv" / "dicom_info.csv"
    table.parent.mkdir()
    try:
        info.to_csv(table, index=False)
        _, notes = check_against_key(key, root)
        assert notes == []
        # As in the real table, some descriptions are blank: bits and names tell the rest.
        info.assign(SeriesDescription="").to_csv(table, index=False)
        _, notes = check_against_key(key, root)
        assert notes == []
    finally:
        table.unlink()
        table.parent.rmdir()


def test_exchanged_crop_and_mask_columns_change_no_file(key, tree):
    exchanged = key.assign(crop=key["mask"], mask=key.crop)
    resolver = FileResolver(index_series(tree[0]))
    noted = 0
    for row in exchanged.itertuples():
        files = resolved_files(resolver, row)
        assert files.masks == (tree[0] / row.mask_file,)
        noted += [code for code, _ in files.notes] == ["swapped_columns"]
    assert noted == DIFFERENT_SERIES


def test_real_masks_are_two_valued_and_real_mammograms_are_not(key):
    masks = {name for name in key.mask_file if (CBIS / name).is_file()}
    images = {name for name in key.image_file if (CBIS / name).is_file()}
    assert (len(masks), len(images)) == (60, 49)
    assert all(is_two_valued(CBIS / name) for name in masks)
    assert not any(is_two_valued(CBIS / name) for name in images)
