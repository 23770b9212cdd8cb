"""What can be learned of a phantom's pathology: no more than its ceiling, from lesions alone."""

from io import BytesIO

import numpy as np
import pandas as pd
import pydicom
import pytest
from skimage.feature import hog
from skimage.measure import regionprops
from skimage.transform import resize
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GroupKFold, cross_val_predict

from miram.errors import MiramError
from miram.evaluation.statistics.delong import auc_interval
from miram.mammography.phantom import PhantomConfig, draw_cases, phantom_ceiling, phantom_files
from miram.mammography.phantom.files import lesion_places
from miram.mammography.phantom.lesions import LesionPatch, draw_calcification, draw_mass


@pytest.fixture(scope="module")
def drawn() -> tuple[pd.DataFrame, list[LesionPatch]]:
    """The cases of 200 patients, and each lesion drawn alone at a size of 80 pixels."""
    cases = draw_cases(PhantomConfig(patients=200, seed=1))
    rng = np.random.default_rng(0)
    return cases, [
        draw_mass(first, second, 80, 0.08, rng)
        if kind == "mass"
        else draw_calcification(first, second, 80, 1024, 0.0, 0.8, rng)
        for kind, first, second in cases[["kind", "first", "second"]].to_numpy()
    ]


def _look(patch: LesionPatch, rng: np.random.Generator) -> np.ndarray:
    """Describe a lesion by the edges of its pixels, in even tissue with the noise of a film."""
    margin = (patch.added.shape[0] - 100) // 2
    pixels = patch.added[margin : margin + 100, margin : margin + 100]
    pixels = resize(pixels + rng.normal(0, 0.02, pixels.shape), (64, 64), anti_aliasing=True)
    return hog(pixels, 8, (16, 16), (2, 2))


def _outline(mask: np.ndarray) -> list[float]:
    """Describe what a mask tells without a pixel of the image."""
    (region,) = regionprops(mask.astype(np.uint8))
    roundness = region.perimeter**2 / region.area
    return [region.solidity, region.eccentricity, region.extent, roundness]


def _cross_validated_auc(features: np.ndarray, lesions: pd.DataFrame, truth: np.ndarray) -> float:
    forest = RandomForestClassifier(100, min_samples_leaf=3, random_state=0)
    folds = GroupKFold(5)
    score = cross_val_predict(
        forest, features, truth, groups=lesions["patient"], cv=folds, method="predict_proba"
    )[:, 1]
    return float(roc_auc_score(truth, score))


@pytest.mark.slow
def test_pixels_predict_pathology_up_to_the_ceiling_and_permuted_labels_do_not(drawn):
    cases, patches = drawn
    rng = np.random.default_rng(0)
    features = np.array([_look(patch, rng) for patch in patches])
    malignant = (cases["pathology"] == "MALIGNANT").to_numpy()
    learned = _cross_validated_auc(features, cases, malignant)
    assert 0.65 < learned <= phantom_ceiling(PhantomConfig(patients=200, seed=1))
    assert learned < _cross_validated_auc(features, cases, cases["suspicious"].to_numpy())

    # Permute whole patients, so that views of one lesion keep a common label.
    by_patient = cases.assign(truth=malignant).groupby("patient")["truth"].max()
    shuffled = pd.Series(rng.permutation(by_patient.tolist()), index=by_patient.index)
    permuted = cases["patient"].map(shuffled).to_numpy(dtype=bool)
    assert _cross_validated_auc(features, cases, permuted) < 0.6


@pytest.mark.slow
def test_masks_say_nothing_of_pathology(drawn):
    cases, patches = drawn
    outlines = np.array([_outline(patch.mask) for patch in patches])
    malignant = (cases["pathology"] == "MALIGNANT").to_numpy()
    assert _cross_validated_auc(outlines, cases, malignant) < 0.56


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
    crops = [files[f"CBIS-DDSM/{place.crop.path}"] for place in places]
    greys = [pydicom.dcmread(BytesIO(crop)).pixel_array.mean() for crop in crops]
    rows = rows.assign(grey=greys)
    for _, part in rows.groupby("split"):
        malignant = (part["pathology"] == "MALIGNANT").to_numpy().astype(int)
        found = auc_interval(malignant, part["grey"].to_numpy(), part["patient"].to_numpy())
        assert abs(found.auc - 0.5) < 2 * found.standard_error, found


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
    with pytest.raises(MiramError, match="take more patients"):
        phantom_ceiling(PhantomConfig(patients=2))
