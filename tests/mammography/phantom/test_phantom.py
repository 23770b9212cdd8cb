"""The phantom: an imitation of CBIS-DDSM with all its quirks, the same bytes for the same seed."""

import csv
import itertools
from io import BytesIO, StringIO
from pathlib import Path

import numpy as np
import pandas as pd
import pydicom
import pytest
from project_paths import SHARED_DATA
from pydantic import ValidationError
from scipy import ndimage
from skimage.measure import regionprops
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GroupKFold, cross_val_predict

from miram.errors import MiramError
from miram.evaluation.statistics.delong import auc_interval
from miram.mammography.phantom import (
    PhantomConfig,
    draw_cases,
    phantom_ceiling,
    phantom_files,
)
from miram.mammography.phantom.cases import spread
from miram.mammography.phantom.files import case_tables, lesion_places

REAL_TABLES = SHARED_DATA / "cbis_ddsm" / "csv"
TABLES = [
    f"csv/{kind}_case_description_{split}_set.csv"
    for kind, split in itertools.product(("mass", "calc"), ("train", "test"))
]
SMALL = PhantomConfig(patients=5, image_size=256)
VIEW = ["patient", "laterality", "view"]


@pytest.fixture(scope="module")
def cases() -> pd.DataFrame:
    return draw_cases(PhantomConfig())


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


def _table_rows(content: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(StringIO(content.decode("ascii"), newline="")))


def test_same_seed_gives_same_bytes_and_another_seed_does_not():
    first, again = list(phantom_files(SMALL)), list(phantom_files(SMALL))
    other = list(phantom_files(SMALL.model_copy(update={"seed": 1})))
    assert first == again
    assert {path for path, _ in first} & {path for path, _ in other} == set(TABLES)
    assert {content for _, content in first}.isdisjoint(content for _, content in other)


@pytest.mark.slow
def test_order_and_bytes_do_not_depend_on_the_number_of_workers():
    assert list(phantom_files(SMALL, workers=2)) == list(phantom_files(SMALL, workers=1))


def test_tables_come_last_and_every_path_once(written):
    _, files = written
    paths = [path for path, _ in phantom_files(SMALL)]
    assert paths[-4:] == TABLES
    assert len(set(paths)) == len(paths)
    assert all(path.startswith("CBIS-DDSM/") for path in paths[:-4])
    assert list(files)[-4:] == TABLES
    headers = [pydicom.dcmread(BytesIO(files[path])) for path in list(files)[:-4]]
    assert len({header.SOPInstanceUID for header in headers}) == len(headers)


def test_first_file_arrives_before_the_others_are_made():
    path, content = next(phantom_files(PhantomConfig(patients=400, image_size=256)))
    assert path.endswith(".dcm")
    assert content[128:132] == b"DICM"


@pytest.mark.parametrize("name", TABLES)
def test_tables_have_the_line_ends_of_the_real_ones(cases, name):
    content = dict(case_tables(cases, seed=0))[name]
    assert content.endswith(b"\r\n")
    rows = _table_rows(content)
    with_line_feed = "cropped image file path" if "calc" in name else "ROI mask file path"
    assert rows
    for row in rows:
        assert [key for key, value in row.items() if "\n" in value] == [with_line_feed]
        assert row[with_line_feed].endswith(".dcm\n")
    assert content.count(b'.dcm\n"') == len(rows)
    assert content.count(b"\r\n") == len(rows) + 1


@pytest.mark.skipif(not REAL_TABLES.is_dir(), reason="the real tables are not beside the project")
@pytest.mark.parametrize("name", TABLES)
def test_tables_use_the_header_and_the_words_of_the_real_ones(cases, name):
    real = (REAL_TABLES / Path(name).name).read_bytes()
    ours = dict(case_tables(cases, seed=0))[name]
    assert ours.split(b"\r\n")[0] == real.split(b"\r\n")[0]
    everything = {
        column: {
            word
            for split in ("train", "test")
            for row in _table_rows(
                (
                    REAL_TABLES / Path(name.replace("train", split).replace("test", split)).name
                ).read_bytes()
            )
            for word in row[column].split("-")
        }
        for column in _table_rows(ours)[0]
        if column != "patient_id" and "path" not in column
    }
    for row in _table_rows(ours):
        for column, words in everything.items():
            assert set(row[column].split("-")) <= words


@pytest.mark.parametrize("patients", [40, 100])
def test_every_quirk_occurs_from_forty_patients_on(patients):
    flags = draw_cases(PhantomConfig(patients=patients)).select_dtypes(bool)
    assert {"mixed", "mask_mismatch", "swapped_files", "blank_mask", "shares_view"} < set(flags)
    assert flags.any().all() and not flags.all().any()


def test_hundred_patients_hold_what_the_real_set_holds(cases):
    assert 220 <= len(cases) <= 270
    assert 1.0 <= len(cases) / cases.groupby(VIEW).ngroups <= 1.3
    assert set(cases["view"]) == {"CC", "MLO"}
    assert cases.groupby(VIEW)["pathology"].apply(lambda found: {"MALIGNANT"} < set(found)).any(), (
        "images with lesions of different pathology"
    )
    assert (cases.groupby(VIEW)["kind"].nunique() == 2).any(), "one view in both tables"
    assert (cases["density_written"] == 0).any()
    assert {"NA"} < set(cases["first_written"])
    words = set("-".join(cases["first_written"]).split("-"))
    assert {"LUCENT_CENTER", "LUCENT_CENTERED"} <= words
    for kind, labels in itertools.product(("mass", "calcification"), ("first", "second")):
        assert cases.loc[cases["kind"] == kind, f"{labels}_written"].str.contains("-").any()
    assert cases.loc[cases["mask_mismatch"], "kind"].eq("mass").all()
    both_sides = cases.groupby("patient")["laterality"].nunique()
    assert 0 < (both_sides == 2).sum() < 25


def test_a_few_patients_leak_between_the_official_splits(cases):
    splits = cases.groupby("patient_id")["split"].nunique()
    assert 2 <= (splits == 2).sum() <= 5
    # Each kind alone is split by patient, as in the real tables.
    assert (cases.groupby(["patient_id", "kind"])["split"].nunique() == 1).all()
    assert 0.15 <= cases[cases["split"] == "test"]["patient"].nunique() / 100 <= 0.25


def test_rates_come_near_the_real_ones_in_a_large_phantom():
    cases = draw_cases(PhantomConfig(patients=1566))
    masses, calcifications = (cases[cases["kind"] == k] for k in ("mass", "calcification"))
    assert cases["mirrored"].mean() == pytest.approx(0.37, abs=0.02)
    assert cases["zero_assessment"].mean() == pytest.approx(238 / 3568, abs=0.002)
    assert masses["separate_series"].mean() == pytest.approx(103 / 1696, abs=0.002)
    assert calcifications["separate_series"].sum() <= 2
    assert masses["mask_mismatch"].mean() == pytest.approx(78 / 1696, abs=0.002)
    assert calcifications["missing_second_label"].mean() == pytest.approx(439 / 1872, abs=0.002)
    assert cases["blank_mask"].mean() == pytest.approx(566 / 10237, abs=0.002)
    assert len(cases) == pytest.approx(3568, rel=0.1)


@pytest.mark.parametrize("patients", [2, 3, 12])
def test_small_phantoms_have_both_splits(patients):
    cases = draw_cases(PhantomConfig(patients=patients))
    assert cases["patient"].nunique() == patients
    assert set(cases["split"]) == {"train", "test"}
    assert [name for name, _ in case_tables(cases, seed=0)] == TABLES


def test_cases_do_not_depend_on_the_image_size(cases):
    pd.testing.assert_frame_equal(cases, draw_cases(PhantomConfig(image_size=320)))


def test_one_view_can_be_asked_for_and_impossible_values_are_refused():
    assert set(draw_cases(PhantomConfig(patients=12, views=("MLO",)))["view"]) == {"MLO"}
    for wrong in ({"patient": 10}, {"label_noise": 0.5}):
        with pytest.raises(ValidationError):
            PhantomConfig(**wrong)


def test_table_cells_name_files_and_swapped_rows_name_the_other_file(written):
    config, files = written
    rows = draw_cases(config).to_dict("records")
    cells = {
        row["ROI mask file path"].strip(): row
        for name in TABLES
        for row in _table_rows(files[name])
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
            specks = pixels - ndimage.median_filter(pixels, 9)
            seen.append(np.percentile(specks[mask], 99.5) > 2 * np.percentile(specks[ring], 99.5))
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


def _describe(row: dict) -> list[float]:
    """Describe a lesion from pixels and mask alone: outline, border, specks."""
    pixels, mask, ring = _neighborhood(row)
    (region,) = regionprops(mask.astype(np.uint8))
    border = mask & ~ndimage.binary_erosion(mask, iterations=2)
    specks = (pixels - ndimage.median_filter(pixels, 9))[mask]
    bright = (pixels - ndimage.median_filter(pixels, 9) > 0.06) & mask
    spots, count = ndimage.label(bright)
    areas = np.bincount(spots.ravel())[1:] if count else np.zeros(1)
    slope = ndimage.gaussian_gradient_magnitude(pixels, 1.0)
    return [
        region.solidity,
        region.eccentricity,
        region.perimeter**2 / region.area,
        region.area / row["image"].shape[0] ** 2,
        pixels[mask].mean() - pixels[ring].mean(),
        slope[border].mean(),
        slope[ring].mean(),
        specks.std(),
        count,
        count / region.area,
        float(areas.mean()),
        float(areas.std()),
    ]


def _cross_validated_auc(features: np.ndarray, lesions: pd.DataFrame, truth: np.ndarray) -> float:
    forest = RandomForestClassifier(100, min_samples_leaf=3, random_state=0)
    folds = GroupKFold(5)
    score = cross_val_predict(
        forest, features, truth, groups=lesions["patient"], cv=folds, method="predict_proba"
    )[:, 1]
    return float(roc_auc_score(truth, score))


@pytest.mark.slow
def test_pixels_predict_pathology_up_to_the_ceiling_and_permuted_labels_do_not():
    config = PhantomConfig(patients=60, image_size=448, seed=1)
    lesions = _decoded(config, dict(phantom_files(config)))
    features = np.array([_describe(row) for row in lesions.to_dict("records")])
    malignant = (lesions["pathology"] == "MALIGNANT").to_numpy()
    learned = _cross_validated_auc(features, lesions, malignant)
    assert 0.70 < learned <= phantom_ceiling(config)
    suspicious = lesions["suspicious"].to_numpy()
    assert learned < _cross_validated_auc(features, lesions, suspicious)

    # Permute whole patients, so that views of one lesion keep a common label.
    rng = np.random.default_rng(0)
    by_patient = lesions.assign(truth=malignant).groupby("patient")["truth"].max()
    chance = []
    for _ in range(2):
        shuffled = pd.Series(rng.permutation(by_patient.tolist()), index=by_patient.index)
        permuted = lesions["patient"].map(shuffled).to_numpy(dtype=bool)
        chance.append(_cross_validated_auc(features, lesions, permuted))
    assert max(chance) < min(0.62, learned - 0.1)


DRAWN = ["density", "exposure", "grain", "size", "reach", "subtlety"]


@pytest.mark.parametrize("seed", range(3))
def test_no_number_that_is_drawn_says_what_a_lesion_is_in_training_or_test(seed):
    cases = draw_cases(PhantomConfig(patients=300, test_share=0.5, seed=seed))
    for _, part in cases.groupby("split"):
        malignant = (part["pathology"] == "MALIGNANT").to_numpy().astype(int)
        for name in DRAWN:
            values = part[name].rank(pct=True).to_numpy()
            found = auc_interval(malignant, values, part["patient"].to_numpy())
            assert abs(found.auc - 0.5) < 2 * found.standard_error, (name, found)


@pytest.mark.slow
def test_brightness_alone_says_nothing_in_training_or_test():
    config = PhantomConfig(patients=120, test_share=0.5, image_size=256, seed=0)
    rows = draw_cases(config)
    files = dict(phantom_files(config, workers=2))
    places = [lesion_places(row, config.seed) for row in rows.to_dict("records")]
    crops = [_read(files, place.crop.path).pixel_array for place in places]
    rows = rows.assign(grey=[crop.mean() / 65_535 for crop in crops])
    for _, part in rows.groupby("split"):
        malignant = (part["pathology"] == "MALIGNANT").to_numpy().astype(int)
        found = auc_interval(malignant, part["grey"].to_numpy(), part["patient"].to_numpy())
        assert abs(found.auc - 0.5) < 2 * found.standard_error, found


def test_draws_are_spread_evenly_within_each_stratum():
    strata = pd.DataFrame({"split": ["a"] * 10 + ["b"] * 4, "kind": ["x"] * 7 + ["y"] * 7})
    drawn = spread(strata, np.random.default_rng(0))
    for _, rows in strata.groupby(["split", "kind"]):
        found = np.floor(drawn[rows.index] * len(rows)).astype(int)
        assert sorted(found) == list(range(len(rows)))


def test_even_the_true_labels_do_not_pass_the_ceiling():
    config = PhantomConfig(patients=600, seed=5)
    cases = draw_cases(config)
    words = pd.concat([cases[c].str.get_dummies("-") for c in ("first", "second")], axis=1)
    malignant = (cases["pathology"] == "MALIGNANT").to_numpy()
    learned = _cross_validated_auc(words.to_numpy(), cases, malignant)
    ceiling = phantom_ceiling(config)
    assert ceiling - 0.06 < learned <= ceiling + 0.005


def test_ceiling_follows_the_label_noise_and_is_kept_in_both_splits():
    assert phantom_ceiling(PhantomConfig(label_noise=0)) == 1.0
    ceilings = [phantom_ceiling(PhantomConfig(label_noise=n)) for n in (0.05, 0.15, 0.3)]
    assert ceilings == sorted(ceilings, reverse=True)
    large = PhantomConfig(patients=500, label_noise=0.1)
    for split in ("train", "test", None):
        assert phantom_ceiling(large, split) == pytest.approx(0.9, abs=0.05)
    findings = draw_cases(large).drop_duplicates(["patient", "laterality", "kind"])
    shares = findings.groupby(["split", "suspicious", "kind"])["contradicted"].mean()
    assert shares.to_list() == pytest.approx([0.1] * 8, abs=0.04)


def test_ceiling_of_one_class_says_how_to_mend_it():
    config = PhantomConfig(
        patients=6, label_noise=0, suspicious_share={"mass": 0, "calcification": 0}
    )
    with pytest.raises(MiramError, match="take more patients"):
        phantom_ceiling(config)
