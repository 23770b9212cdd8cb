"""PSNR and SSIM are of the patches that were hidden, and of no other."""

import numpy as np
import pytest
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from miram.models.fidelity import fidelity, hidden_patches


@pytest.fixture
def arrays():
    """Two crops of 16 pixels in a grid of 2; of one the upper right patch is hidden, half right."""
    target = np.random.default_rng(0).integers(0, 256, (2, 16, 16)).astype(np.uint8)
    masked, prediction = target.copy(), target.copy()
    masked[0, :8, 8:] = 128
    prediction[0, :4, 8:] = 255 - prediction[0, :4, 8:]
    return {
        "scale1_target": target,
        "scale1_masked": masked,
        "scale1_prediction": prediction,
    }


def test_hidden_patches_are_those_that_were_greyed_out(arrays):
    found = hidden_patches(arrays, 1, 2)
    assert found.tolist() == [[[False, True], [False, False]], [[False, False], [False, False]]]


def test_fidelity_is_of_the_hidden_patches_alone(arrays):
    psnr, ssim = fidelity(arrays, 1, 2)[0]
    target, prediction = (arrays[f"scale1_{part}"][0] for part in ("target", "prediction"))
    part = np.s_[:8, 8:]
    expected = peak_signal_noise_ratio(target[part], prediction[part], data_range=255)
    assert psnr == pytest.approx(expected)
    assert ssim < structural_similarity(target, prediction, data_range=255)


def test_fidelity_of_a_crop_of_which_nothing_was_hidden_is_unknown(arrays):
    assert np.isnan(fidelity(arrays, 1, 2)[1]).all()
