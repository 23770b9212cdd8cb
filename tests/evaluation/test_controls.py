"""Controls: chance where there is nothing to find, and more than chance where something leaks."""

import numpy as np
import pytest
from sample_lesions import FEW_FITS

from miram.errors import MiramError
from miram.evaluation.config import AssessmentConfig
from miram.evaluation.controls import blank, blank_pixels, permuted_labels
from miram.evaluation.probes.scoring import WHOLE

CONFIG = AssessmentConfig.model_validate({"bootstrap_draws": 100, "linear_probe": FEW_FITS})


@pytest.fixture(scope="module", params=["official", "cv"])
def found(request, sample):
    """A sample whose first feature separates the classes almost perfectly."""
    return sample(120, strategy=request.param, signal=4.0)


def control(of, found, features, config=CONFIG):
    return of({WHOLE: features}, found.lesions, found.splits, config)


@pytest.mark.slow
def test_permuted_labels_leave_even_perfect_features_at_chance(found):
    assert control(blank_pixels, found, found.features).estimate > 0.95  # with the labels as given
    permuted = control(permuted_labels, found, found.features)
    assert permuted.lower < 0.5 < permuted.upper
    assert permuted.upper - permuted.lower < 0.1
    assert (permuted.task, permuted.metric) == ("pathology", "auc")


def test_blank_pixels_are_at_chance_unless_the_features_read_the_mask(found):
    nothing = np.ones_like(found.features)
    assert control(blank_pixels, found, nothing).estimate == 0.5
    area = nothing.copy()
    area[:, 0] = found.features[:, 0]  # a mask that follows the finding
    assert control(blank_pixels, found, area).lower > 0.5


def test_controls_name_the_lesions_and_patients_they_evaluated(found):
    evaluated = found.splits["split"].isin(["test", *[f"fold{fold}" for fold in range(4)]])
    one = control(permuted_labels, found, found.features)
    assert one.lesions == evaluated.sum()
    assert one.patients == found.splits.loc[evaluated, "patient_id"].nunique()


def test_blank_crops_tell_no_crop_from_another():
    crops = np.random.default_rng(0).integers(0, 2**16, (3, 8, 8)).astype(np.uint16)
    assert np.unique(blank(crops)).size == 1
    assert blank(crops).shape == crops.shape


def test_a_task_that_the_lesions_cannot_answer_is_refused(sample):
    found = sample(60)
    found.lesions["pathology"] = "BENIGN"
    with pytest.raises(MiramError, match=r"cannot answer task pathology .* evaluation\.tasks"):
        control(permuted_labels, found, found.features)
