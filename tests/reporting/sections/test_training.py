"""Reconstructions are shown with measures that have a number of crops and an interval, or none."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from miram.reporting.facts.study import Study
from miram.reporting.page import render_report
from miram.reporting.sections.methods import Training, mean_fidelity


def scores(part: str) -> pd.DataFrame:
    """Five patients with 1 to 5 crops each, whose PSNR is 20 plus the number of the patient."""
    patients = np.repeat(np.arange(1, 6), np.arange(1, 6))
    one = pd.DataFrame(
        {
            "crop_id": [f"c{number}" for number in range(15)],
            "patient_id": [f"P{number}" for number in patients],
            "part": part,
            "psnr": 20.0 + patients,
            "ssim": 0.5,
        }
    )
    return pd.concat([one.assign(scale=1), one.assign(scale=2, psnr=one["psnr"] - 5)])


def measured(study: Study, part: str) -> Study:
    methods = {
        name: replace(one, fidelity=scores(part) if one.reconstructions else pd.DataFrame())
        for name, one in study.methods.items()
    }
    return replace(study, methods=methods)


def test_means_are_over_crops_and_intervals_over_patients(study: Study) -> None:
    reported = measured(study, "val")
    found = mean_fidelity(reported, reported.methods["miram_nystrom"], 2)
    psnr, ssim = found["psnr"], found["ssim"]
    assert psnr.estimate == pytest.approx(15 + 55 / 15)
    assert (psnr.lesions, psnr.patients) == (15, 5)
    assert 16 <= psnr.lower < psnr.estimate < psnr.upper <= 20
    assert (ssim.lower, ssim.upper) == (pytest.approx(0.5), pytest.approx(0.5))
    assert mean_fidelity(reported, reported.methods["random"], 1) == {}


@pytest.mark.parametrize(("part", "words"), [("val", "validation"), ("train", "training")])
def test_the_page_says_of_which_crops_they_are(study: Study, part: str, words: str) -> None:
    html = render_report(measured(study, part), (Training(),))
    assert f"mean over 15 {words} crops of 5 patients with its 95 % interval" in html
    assert "PSNR 23.7 dB" in html and "SSIM 0.500" in html
    assert ("crops that were trained on" in html) == (part == "train")


def test_pictures_without_measures_claim_nothing(study: Study) -> None:
    html = render_report(study, (Training(),))
    assert "One example, no measurement." in html and "<span>PSNR" not in html
