"""Hand-crafted baselines: exact on images whose answer is known, blind to what they should be."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kedro.pipeline import Pipeline

from miram.errors import MiramError
from miram.evaluation.config import AssessmentConfig
from miram.evaluation.evaluate import evaluate_table
from miram.evaluation.features.handcrafted import (
    DESCRIPTIONS,
    HandcraftedConfig,
    HogConfig,
    IntensityConfig,
    LbpConfig,
    Lesions,
    box_size,
    hog,
    intensity,
    lbp,
    mask_shape,
    mean_grey,
)
from miram.evaluation.probes.scoring import features_by_fold
from miram.mammography.crops.cut import CropConfig
from miram.mammography.crops.plan import build_crop_store, plan_crops
from miram.mammography.sources import make_source
from miram.mammography.splits import SplitConfig, assign_splits
from miram.models.methods import BASELINES
from miram.pipelines.baselines import create_pipeline, describing

WHITE = 65_535


def names(count):
    return pd.Series([f"lesion {place}" for place in range(count)])


def noise(count=3, side=64, seed=0):
    return np.random.default_rng(seed).integers(0, WHITE + 1, (count, side, side), np.uint16)


def values(table):
    return table.drop(columns="lesion_id").to_numpy()


def masks(count=3, side=8):
    found = np.zeros((count, side, side), np.uint8)
    found[:, 2:5, 3:6] = 255
    return found


def lesions(crops):
    boxes = np.tile([0, 0, 3, 4], (len(crops), 1))
    return Lesions(names(len(crops)), crops, masks(len(crops)), boxes, 32)


def all_tables(crops):
    config = HandcraftedConfig(hog=HogConfig(image_size=64), lbp=LbpConfig(image_size=64))
    return {name: DESCRIPTIONS[name](lesions(crops), config) for name in BASELINES}


def test_every_baseline_gives_the_table_that_the_probe_takes():
    for baseline, table in all_tables(noise()).items():
        assert list(table)[:2] == ["lesion_id", "f0"], baseline
        features = features_by_fold(table, names(3).iloc[::-1])
        np.testing.assert_array_equal(next(iter(features.values())), values(table)[::-1])


def test_features_of_a_lesion_do_not_depend_on_the_others():
    crops = noise()
    together, alone = all_tables(crops), all_tables(crops[1:2])
    for baseline in BASELINES:
        np.testing.assert_array_equal(values(together[baseline])[1:2], values(alone[baseline]))


def test_no_lesion_gives_an_empty_table():
    for table in all_tables(noise(0)).values():
        assert len(table) == 0 and "lesion_id" in table


@pytest.mark.parametrize("direction", [0, 1])
def test_hog_puts_a_ramp_into_the_bin_of_its_direction(direction):
    ramp = np.linspace(1000, 60_000, 64)
    crop = np.broadcast_to(ramp if direction else ramp[:, None], (64, 64)).astype(np.uint16)
    found = values(hog(names(1), crop[None], HogConfig(image_size=64, orientations=4)))
    mass = found.reshape(-1, 4).sum(axis=0)
    # Four bins of 45 degrees; a gradient along x has orientation 0, one along y 90.
    assert mass.argmax() == (0 if direction else 2)
    assert mass.max() > 0.99 * mass.sum()


def test_hog_has_the_size_that_its_documentation_states():
    config = HogConfig(image_size=64, cell=8, block=3, orientations=5)
    assert values(hog(names(1), noise(1), config)).shape == (1, (8 - 3 + 1) ** 2 * 9 * 5)


@given(gain=st.floats(0.1, 0.5), offset=st.integers(0, 30_000))
@settings(max_examples=10, deadline=None)
def test_hog_and_lbp_hardly_see_brightness_and_contrast(gain, offset):
    crops = noise(1)
    changed = (crops * gain + offset).astype(np.uint16)
    for function, config in ((hog, HogConfig(image_size=64)), (lbp, LbpConfig(image_size=64))):
        before, after = (values(function(names(1), images, config)) for images in (crops, changed))
        # Not exactly: rounding moves a few pixels into the neighboring bin.
        assert np.abs(after - before).mean() < 1e-3 * before.mean() + 1e-3


def test_lbp_histograms_sum_to_one_and_see_no_rotation_by_a_right_angle():
    crops = noise(1, side=96)
    config = LbpConfig(image_size=64, radii=(1, 2))
    found = values(lbp(names(1), crops, config))
    assert found.shape == (1, 10 + 18)
    np.testing.assert_allclose([found[:, :10].sum(), found[:, 10:].sum()], 1, atol=1e-6)
    turned = values(lbp(names(1), np.rot90(crops, axes=(1, 2)), config))
    # A turn by a right angle carries a circle of 8 points onto itself, but for rounding ties.
    np.testing.assert_allclose(turned, found, atol=2e-3)
    # while another texture is another histogram
    smooth = np.repeat(np.repeat(noise(1, side=24), 4, axis=1), 4, axis=2)
    assert np.abs(values(lbp(names(1), smooth, config)) - found).max() > 0.05


def test_lbp_of_a_flat_crop_is_the_flat_pattern_to_its_border():
    flat = np.full((1, 50, 50), 12_345, np.uint16)
    found = values(lbp(names(1), flat, LbpConfig(image_size=64, radii=(3,))))
    # All 24 points are at least as light as their center, at the border as well.
    assert found[0, 24] == 1 and found.sum() == 1


def test_intensity_is_numpys_statistics_inside_each_region():
    crops, covered = noise(2), masks(2)
    covered[1] = 0  # no mask: its lesion is the whole crop
    config = IntensityConfig(percentiles=(10, 50))
    found = values(intensity(names(2), crops, covered, config))
    assert found.shape == (2, 12)
    inside = crops[0, 16:40, 24:48] / WHITE
    expected = [inside.mean(), inside.std(), *np.percentile(inside, [10, 50])]
    np.testing.assert_allclose(found[0, [6, 7, 10, 11]], expected, rtol=1e-5)
    np.testing.assert_array_equal(found[1, :6], found[1, 6:])


def test_intensity_of_a_flat_crop_is_finite():
    found = values(intensity(names(1), np.full((1, 64, 64), 7, np.uint16), masks(1), CONFIG))
    assert np.isfinite(found).all() and found[0, 1:4].tolist() == pytest.approx([0, 0, 0])


CONFIG = IntensityConfig(regions=("crop",))


def test_box_sizes_are_logarithms_of_areas_and_see_no_place():
    found = values(box_size(names(2), np.array([[0, 0, 20, 50], [100, 7, 150, 27]])))
    np.testing.assert_allclose(found, np.log([[1000], [1000]]), rtol=1e-6)


def test_mean_grey_is_mean_and_deviation():
    crops = noise(2)
    levels = crops / WHITE
    expected = np.column_stack([levels.mean(axis=(1, 2)), levels.std(axis=(1, 2))])
    np.testing.assert_allclose(values(mean_grey(names(2), crops)), expected, rtol=1e-6)


def test_mask_shape_is_share_solidity_and_eccentricity():
    covered = np.zeros((3, 8, 8), np.uint8)
    covered[0, 2:6, 2:6] = 255
    covered[1, 3, 1:7] = 255
    share, solidity, eccentricity = values(mask_shape(names(3), covered)).T
    np.testing.assert_allclose(share, [16 / 64, 6 / 64, 0])
    np.testing.assert_allclose(solidity, [1, 1, 0])
    np.testing.assert_allclose(eccentricity, [0, 1, 0], atol=1e-6)


def test_low_baselines_see_no_more_than_the_encoder():
    crops = noise(2)
    flat = crops.reshape(2, 32, 2, 32, 2).mean(axis=(2, 4)).astype(np.uint16)
    flat = flat.repeat(2, axis=1).repeat(2, axis=2)
    for name in ("hog_low", "lbp_low", "intensity_low"):
        found, expected = (values(all_tables(each)[name]) for each in (crops, flat))
        np.testing.assert_allclose(found, expected, rtol=0.05, atol=0.02)
        high = values(all_tables(crops)[name.removesuffix("_low")])
        assert high.shape != found.shape or np.abs(high - found).max() > 0.05


def test_an_empty_box_is_named():
    with pytest.raises(MiramError, match=r"lesion lesion 1 has an empty box \[5, 5, 5, 9\]"):
        box_size(names(2), np.array([[0, 0, 1, 1], [5, 5, 5, 9]]))


@pytest.mark.parametrize(
    ("block", "words"),
    [
        ({"hog": {"image_size": 16, "cell": 16}}, "does not fit into 16 pixels"),
        ({"lbp": {"image_size": 16, "radii": [8]}}, "below half of 16 pixels"),
        ({"intensity": {"percentiles": [101]}}, "between 0 and 100"),
        ({"hgo": {}}, "did you mean hog?"),
    ],
)
def test_impossible_settings_are_reported(block, words):
    with pytest.raises(MiramError, match=words.replace("?", r"\?")):
        HandcraftedConfig.model_validate(block)


@pytest.fixture(scope="module")
def real(shared_data, tmp_path_factory):
    """The real mass lesions, cut from their own crops, as the image_table source reads them."""
    options = {
        "table": "manifest.csv",
        "columns": {
            "image_id": "lesion_id",
            "image_path": "crops/{lesion_id}.png",
            "mask_paths": "masks/{lesion_id}.png",
        },
        "constants": {"abnormality_type": "mass"},
    }
    folder = shared_data / "cbis_ddsm" / "lesions"
    lesions = make_source("image_table", options).ingest(folder).lesions
    plan = plan_crops(lesions, folder, CropConfig(image_size=128, context=1.25))
    store = build_crop_store(plan, tmp_path_factory.mktemp("real") / "crops")
    return lesions, store, assign_splits(lesions, SplitConfig(strategy="cv"))


@pytest.mark.slow
def test_boxes_of_real_lesions_are_those_of_their_masks_on_the_mammogram(real, shared_data):
    _, store, splits = real
    table = describing("box_size")(store, splits, HandcraftedConfig(), 64)
    known = pd.read_csv(shared_data / "cbis_ddsm/lesions/manifest.csv").set_index("lesion_id")
    known = known.loc[table["lesion_id"]]
    areas = (known["x1"] - known["x0"]) * (known["y1"] - known["y0"])
    np.testing.assert_allclose(table["f0"], np.log(areas), rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("baseline", BASELINES)
def test_baselines_are_weak_on_real_lesions_as_published_trials_found(real, baseline):
    lesions, store, splits = real
    features = describing(baseline)(store, splits, HandcraftedConfig(), 64)
    evaluation = evaluate_table(features, lesions, splits, AssessmentConfig(bootstrap_draws=200))
    found = evaluation.metrics["tasks"]["pathology"]
    assert found["lesions"] == len(lesions) == len(evaluation.predictions)
    area = found["metrics"]["auc"]
    # 0.51 to 0.60 on 263 lesions, standard error 0.035: about chance, and no leak.
    assert area["lower"] < 0.60 and area["upper"] > 0.45 and 0.35 < area["estimate"] < 0.68


def test_the_pipeline_gives_each_baseline_what_each_method_gives():
    pipeline = create_pipeline()
    assert isinstance(pipeline, Pipeline)
    assert pipeline.inputs() == {
        "crops",
        "splits",
        "lesions",
        "params:handcrafted",
        "params:encoder.image_size",
        "params:evaluation",
        "params:engine",
    }
    assert pipeline.outputs() == {f"{name}.evaluation" for name in BASELINES}
    assert {f"{baseline}.features" for baseline in BASELINES} < pipeline.datasets()
    assert {node.namespace for node in pipeline.nodes} == set(BASELINES)
