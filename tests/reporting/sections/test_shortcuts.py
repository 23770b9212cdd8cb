from dataclasses import replace

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

from miram.evaluation.statistics.bootstrap import Interval
from miram.reporting.sections.shortcuts import Separation, Shortcuts, study_shortcuts


def scored_by(study, score):
    """The study with one method whose scores are `score(lesion_id)`."""
    table = study.methods["mae"].predictions
    table = table.assign(score=table["lesion_id"].map(score).astype(float))
    return replace(study, methods={"mae": replace(study.methods["mae"], predictions=table)})


def areas(study):
    manifest = study.crops.manifest.set_index("crop_id")
    return (manifest["box_x1"] - manifest["box_x0"]) * (manifest["box_y1"] - manifest["box_y0"])


def test_scores_that_are_the_area_follow_it_alone(study):
    facts = study_shortcuts(scored_by(study, areas(study)))
    [correlations] = facts.methods.values()
    area, grey = correlations["box area"], correlations["mean grey"]
    np.testing.assert_allclose([area.estimate, area.lower, area.upper], 1)
    assert grey.lower < 0 < grey.upper
    assert (facts.lesions, facts.patients) == (area.lesions, area.patients)


def test_correlations_are_those_of_ranks(study):
    table = study.methods["mae"].predictions.sort_values("lesion_id")
    grey = study.crops.crops[study.crops.rows(table["lesion_id"])].mean(axis=(1, 2))
    expected = spearmanr(table["score"], grey).statistic
    found = study_shortcuts(study).methods["mae"]
    np.testing.assert_allclose(found["mean grey"].estimate, expected, atol=1e-9)


def test_a_number_that_turns_between_the_splits_is_reported(study):
    area = {row.number: row for row in study_shortcuts(study).separations}["box area"]
    counts = study.splits["split"].value_counts()
    assert (area.test.lesions, area.train.lesions) == (
        counts["test"],
        counts["train"] + counts.get("val", 0),
    )
    low, high = (Interval(value, value, value, 9, 9, 9, 0) for value in (0.4, 0.6))
    assert Separation("mean grey", low, high).turned
    assert not Separation("mean grey", high, high).turned


def test_cross_validation_has_no_sides_and_several_classes_no_ranking(cv_study, four_class_study):
    assert study_shortcuts(cv_study).separations == ()
    assert not Shortcuts().applies(four_class_study)


def test_a_baseline_stands_beside_the_methods(study):
    other = pd.concat([study.methods["mae"].predictions])
    facts = study_shortcuts(replace(study, baselines={"hog": other}))
    assert list(facts.methods) == [*study.methods, "hog"]
