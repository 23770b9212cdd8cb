"""How metrics grow with labeled patients: drawn by patient, nested, on the same lesions."""

import numpy as np
import pandas as pd
import pytest
from sample_lesions import FEW_FITS

from miram.evaluation.assess import assess_features
from miram.evaluation.config import AssessmentConfig
from miram.evaluation.label_efficiency import COLUMNS, drawn_pairs, label_efficiency_table
from miram.evaluation.probes.scoring import WHOLE

ASKED = {
    "bootstrap_draws": 100,
    "linear_probe": FEW_FITS,
    "label_efficiency": {"enabled": True, "shares": (0.1, 0.5, 1.0), "draws": 3},
}


def config(**options):
    return AssessmentConfig.model_validate({**ASKED, **options})


def table_of(given, asked):
    return label_efficiency_table({0: {WHOLE: given.features}}, given.lesions, given.splits, asked)


@pytest.mark.parametrize("strategy", ["official", "cv"])
def test_shares_are_of_patients_and_all_of_them_give_the_probe_itself(sample, strategy):
    given, asked = sample(120, strategy=strategy), config()
    found = table_of(given, asked)
    assert tuple(found.columns) == COLUMNS
    auc = found[found["metric"] == "auc"].set_index("share")
    entry = assess_features({WHOLE: given.features}, given.lesions, given.splits, asked)
    whole = entry.metrics["tasks"]["pathology"]
    assert auc.loc[1.0, "estimate"] == pytest.approx(whole["metrics"]["auc"]["estimate"])
    trained = np.mean([part["patients"] for part in whole["training"]])
    assert auc.loc[1.0, "training_patients"] == pytest.approx(trained)
    for share in (0.1, 0.5):
        assert auc.loc[share, "training_patients"] == pytest.approx(share * trained, abs=1)
        assert auc.loc[share, "training_lesions"] > auc.loc[share, "training_patients"]
    assert auc["draws"].tolist() == [3, 3, 1]
    assert (auc["lesions"] == whole["lesions"]).all()
    assert (auc["patients"] == whole["patients"]).all()
    assert set(found["strategy"]) == {strategy}


def test_more_patients_give_more_and_the_interval_holds_the_draws(sample):
    given = sample(400, signal=1.0, width=30)
    found = table_of(given, config(tasks="pathology"))
    auc = found[found["metric"] == "auc"].set_index("share")
    assert auc["estimate"].is_monotonic_increasing
    assert auc.loc[1.0, "estimate"] - auc.loc[0.1, "estimate"] > 0.05
    assert (auc["lower"] <= auc["estimate"]).all() and (auc["estimate"] <= auc["upper"]).all()
    assert auc.loc[0.1, "upper"] > auc.loc[0.1, "lower"]
    assert auc.loc[0.1, "deviation"] > 0


@pytest.mark.slow
def test_metrics_do_not_depend_on_the_order_of_rows(sample):
    given, asked = sample(100), config(tasks="pathology+density")
    turned = given.take(np.random.default_rng(0).permutation(len(given.splits)))
    pd.testing.assert_frame_equal(table_of(turned, asked), table_of(given, asked))


GROUPS = np.repeat(np.arange(40), 2)
PAIR = (np.arange(60), np.arange(60, 80))


def draw(share, number=0, labels=None, seed=0):
    labels = GROUPS % 2 if labels is None else labels
    return drawn_pairs([PAIR], GROUPS, labels, share, seed=seed, draw=number)


def test_patients_are_drawn_whole_and_smaller_shares_lie_within_larger_ones():
    kept = []
    for share in (0.1, 0.3, 1.0):
        [(train, evaluated)], redrawn = draw(share)
        assert redrawn == 0
        np.testing.assert_array_equal(evaluated, PAIR[1])
        patients, lesions = np.unique(GROUPS[train], return_counts=True)
        assert (lesions == 2).all()
        kept.append(set(patients))
    assert [len(patients) for patients in kept] == [3, 9, 30]
    assert kept[0] < kept[1] < kept[2]


def test_draws_and_seeds_differ():
    sets = {
        tuple(draw(0.2, number, seed=seed)[0][0][0]) for number, seed in ((0, 0), (1, 0), (0, 1))
    }
    assert len(sets) == 3


def test_a_draw_of_one_class_is_thrown_away_and_counted():
    labels = (GROUPS == 7).astype(int)
    counts = []
    for number in range(20):
        pairs, redrawn = draw(0.2, number, labels)
        assert pairs is not None and 7 in GROUPS[pairs[0][0]]
        counts.append(redrawn)
    assert max(counts) > 2


def test_without_a_second_class_there_is_no_draw_but_a_row(sample):
    assert draw(0.2, labels=np.zeros(80, int)) == (None, 100)
    given = sample(60)
    # One malignant patient to learn from: two patients of sixty hardly ever include that one.
    trained = given.splits.loc[given.splits["split"] != "test", "patient_id"].unique()
    inside = given.lesions["patient_id"].isin(trained)
    given.lesions.loc[inside, "pathology"] = "BENIGN"
    given.lesions.loc[given.lesions["patient_id"].isin(trained[:2]), "pathology"] = "MALIGNANT"
    found = table_of(given, config(label_efficiency={"shares": (0.02, 1.0), "draws": 3}))
    small = found[(found["share"] == 0.02) & (found["metric"] == "auc")]
    assert (small["redrawn"] > 0).all()
