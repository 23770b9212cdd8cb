"""Files of the phantom: the same bytes for the same seed, and films like those of CBIS-DDSM."""

import csv
import itertools
from io import BytesIO, StringIO

import numpy as np
import pandas as pd
import pydicom
import pytest
from scipy import ndimage

from miram.mammography.phantom import PhantomConfig, draw_cases, phantom_files
from miram.mammography.phantom.files import lesion_places

TABLES = [
    f"csv/{kind}_case_description_{split}_set.csv"
    for kind, split in itertools.product(("mass", "calc"), ("train", "test"))
]
SMALL = PhantomConfig(patients=5, image_size=256)
VIEW = ["patient", "laterality", "view"]


@pytest.fixture(scope="module")
def written() -> tuple[PhantomConfig, dict[str, bytes]]:
    config = PhantomConfig(patients=40, image_size=448, seed=1)
    return config, dict(phantom_files(config))


@pytest.fixture(scope="module")
def lesions(written) -> pd.DataFrame:
    return _decoded(*written)


def _decoded(config: PhantomConfig, files: dict[str, bytes]) -> pd.DataFrame:
    """Rows of the cases with decoded image, crop, and lesion mask at the image's size."""
    images: dict[str, np.ndarray] = {}
    records = []
    for row in draw_cases(config).to_dict("records"):
        places = lesion_places(row, config.seed)
        if places.image.path not in images:
            images[places.image.path] = _read(files, places.image.path).pixel_array
        image = images[places.image.path]
        filed_mask = _read(files, places.mask.path).pixel_array
        down, across = (
            (np.arange(new) * old // new)
            for new, old in zip(image.shape, filed_mask.shape, strict=True)
        )
        components, count = ndimage.label(filed_mask[np.ix_(down, across)], np.ones((3, 3)))
        areas = np.bincount(components.ravel())[1:]
        row |= {
            "image": image,
            "crop": _read(files, places.crop.path).pixel_array,
            "filed_mask": filed_mask,
            "mask": components == 1 + areas.argmax(),
            "components": count,
            "largest_share": areas.max() / areas.sum(),
        }
        records.append(row)
    return pd.DataFrame(records)


def _read(files: dict[str, bytes], path: str) -> pydicom.Dataset:
    return pydicom.dcmread(BytesIO(files[f"CBIS-DDSM/{path}"]))


def test_same_seed_gives_same_bytes_and_another_seed_does_not():
    first, again = list(phantom_files(SMALL)), list(phantom_files(SMALL))
    other = list(phantom_files(SMALL.model_copy(update={"seed": 1})))
    assert first == again
    assert {path for path, _ in first} & {path for path, _ in other} == set(TABLES)
    assert {content for _, content in first}.isdisjoint(content for _, content in other)


@pytest.mark.slow
def test_order_and_bytes_do_not_depend_on_the_number_of_workers():
    assert list(phantom_files(SMALL, workers=2)) == list(phantom_files(SMALL, workers=1))


def test_tables_come_last_and_every_file_has_a_uid_of_its_own(written):
    _, files = written
    assert list(files)[-4:] == TABLES
    assert all(path.startswith("CBIS-DDSM/") for path in list(files)[:-4])
    headers = [pydicom.dcmread(BytesIO(files[path])) for path in list(files)[:-4]]
    assert len({header.SOPInstanceUID for header in headers}) == len(headers)


def test_first_file_arrives_before_the_others_are_made():
    path, content = next(phantom_files(PhantomConfig(patients=400, image_size=256)))
    assert path.endswith(".dcm")
    assert content[128:132] == b"DICM"


def test_table_cells_name_files_and_swapped_rows_name_the_other_file(written):
    config, files = written
    rows = draw_cases(config).to_dict("records")
    cells = {
        row["ROI mask file path"].strip(): row
        for name in TABLES
        for row in csv.DictReader(StringIO(files[name].decode("ascii"), newline=""))
    }
    assert len(cells) == len(rows)
    for row in rows:
        places = lesion_places(row, config.seed)
        table_row = cells[places.mask_cell]
        assert table_row["cropped image file path"].strip() == places.crop_cell
        assert table_row["image file path"] == places.image.path
        folder = places.mask_cell.split("/")[0]
        assert folder == f"{places.image.folder}_{table_row['abnormality id']}"
        numbers = places.crop_cell[-10:], places.mask_cell[-10:]
        usual = ("000000.dcm", "000001.dcm")
        if row["separate_series"]:
            assert numbers == ("000000.dcm", "000000.dcm")
            assert len({places.crop.series, places.mask.series, places.image.series}) == 3
        else:
            assert numbers == (usual if row["kind"] == "mass" else usual[::-1])
            assert places.crop.series == places.mask.series
        bits = 8 if row["swapped_files"] else 16
        assert _read(files, places.crop_cell).BitsAllocated == bits
        assert _read(files, places.mask_cell).BitsAllocated == 24 - bits
        assert _read(files, places.image.path).BitsAllocated == 16


def test_dicom_files_carry_the_tags_of_the_real_ones(written):
    config, files = written
    for row in draw_cases(config).to_dict("records")[:40]:
        places = lesion_places(row, config.seed)
        for place, blank, description in (
            (places.image, row["blank_image"], "full mammogram images"),
            (places.crop, row["blank_crop"], "cropped images"),
            (places.mask, row["blank_mask"], "ROI mask images"),
        ):
            data = _read(files, place.path)
            assert data.file_meta.TransferSyntaxUID == pydicom.uid.ExplicitVRLittleEndian
            assert data.SOPClassUID == pydicom.uid.SecondaryCaptureImageStorage
            assert data.PatientID == place.folder == place.path.split("/")[0]
            assert (data.Modality, data.PhotometricInterpretation) == ("MG", "MONOCHROME2")
            assert (data.PatientOrientation, data.Laterality) == (row["view"], row["laterality"][0])
            assert data.SeriesDescription == ("" if blank else description)
            assert data.SeriesInstanceUID == place.path.split("/")[2]
            assert data.StudyInstanceUID == place.path.split("/")[1]
            assert pydicom.uid.UID(data.SeriesInstanceUID).is_valid
            assert data.BitsStored == data.BitsAllocated == data.HighBit + 1
            assert data.PixelRepresentation == 0
            assert data.LargestImagePixelValue == data.pixel_array.max()
            for absent in ("WindowCenter", "VOILUTSequence", "PixelSpacing", "ImagerPixelSpacing"):
                assert absent not in data
            for absent in ("ViewPosition", "ImageLaterality"):
                assert absent not in data


def test_a_view_in_both_tables_has_one_image_under_two_uids(written):
    config, files = written
    rows = draw_cases(config)
    shared = rows.groupby(VIEW).filter(lambda lesions: lesions["kind"].nunique() == 2)
    assert len(shared)
    for _, group in shared.groupby(VIEW):
        places = {lesion_places(row, config.seed).image for row in group.to_dict("records")}
        assert len({place.series for place in places}) == 2
        assert len({_read(files, place.path).PixelData for place in places}) == 1


def test_images_resemble_film(lesions):
    images = lesions.drop_duplicates(VIEW)
    zero = images["image"].map(lambda image: (image == 0).mean())
    assert 0.4 < zero.median() < 0.6
    assert (
        images["image"].map(lambda image: image.shape[1] / image.shape[0]).between(0.44, 0.76).all()
    )
    for row in images.to_dict("records"):
        image = row["image"]
        assert image.dtype == np.uint16
        borders = np.concatenate([image[[0, -1]].ravel(), image[:, [0, -1]].T.ravel()])
        # A strip covers a whole border; without strips only a letter may touch it.
        assert ((borders > 0.92 * 65535).mean() > 0.1) == row["white_strips"]
        columns = (image[image.shape[0] // 3 : -image.shape[0] // 4] > 0).mean(axis=0)
        tissue_left = columns[: columns.size // 3].mean() > columns[-columns.size // 3 :].mean()
        assert tissue_left == ((row["laterality"] == "LEFT") != row["mirrored"])


def test_masks_have_the_size_of_the_image_or_are_1_149_times_smaller(lesions):
    for row in lesions.to_dict("records"):
        assert set(np.unique(row["filed_mask"])) == {0, 255}
        ratios = np.divide(row["image"].shape, row["filed_mask"].shape)
        expected = 1.1492 if row["mask_mismatch"] else 1.0
        assert ratios == pytest.approx([expected, expected], rel=0.003)
    assert lesions["mask_mismatch"].any()


def test_masks_are_one_lesion_with_small_components(lesions):
    assert (lesions["largest_share"] > 0.98).all()
    # Making a mask smaller can cut off the tip of a spicule.
    whole = lesions[~lesions["small_components"] & ~lesions["mask_mismatch"]]
    assert (whole["components"] == 1).all()
    assert (lesions.loc[lesions["small_components"], "components"] > 1).mean() > 0.8


def test_lesion_boxes_have_the_real_range_of_sizes(lesions):
    longer = []
    for row in lesions.to_dict("records"):
        (box,) = ndimage.find_objects(row["mask"].astype(int))
        height, width = (side.stop - side.start for side in box)
        longer.append(max(height, width) / row["image"].shape[0])
        touches = 0 in (box[0].start, box[1].start)
        touches |= any(s.stop == n for s, n in zip(box, row["mask"].shape, strict=True))
        assert touches == row["edge_lesions"]
        if not row["mask_mismatch"]:
            np.testing.assert_array_equal(row["crop"], row["image"][box])
    assert 0.055 < np.median(longer) < 0.085
    assert min(longer) > 0.025
    assert max(longer) < 0.165


def test_lesions_are_visible_under_their_masks(lesions):
    """A mass is brighter than its surroundings, a calcification holds brighter specks."""
    seen = []
    for row in lesions.to_dict("records"):
        pixels, mask, ring = _neighborhood(row)
        if row["kind"] == "mass":
            seen.append(pixels[mask].mean() > pixels[ring].mean())
        else:
            smooth = ndimage.gaussian_filter(pixels, 0.7)  # against the film's noise
            specks = smooth - ndimage.median_filter(pixels, 9)
            seen.append(specks[mask].max() > 1.5 * specks[ring].max())
    visible = pd.Series(seen).groupby(lesions["kind"].to_numpy()).mean()
    assert (visible > 0.9).all()


def _neighborhood(row: dict) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cut out pixels (0 to 1), mask, and the tissue in a ring around it."""
    (box,) = ndimage.find_objects(row["mask"].astype(int))
    reach = 12
    wide = tuple(slice(max(side.start - reach, 0), side.stop + reach) for side in box)
    pixels, mask = row["image"][wide] / 65535, row["mask"][wide]
    film = ndimage.binary_dilation(pixels > 0.98, iterations=2)  # strips and letters
    ring = ndimage.binary_dilation(mask, iterations=reach) & (pixels > 0)
    ring &= ~ndimage.binary_dilation(mask, iterations=4) & ~film
    return pixels, mask, ring
