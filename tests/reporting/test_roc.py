"""ROC curves agree with the areas that stand beside them."""

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from miram.reporting.roc import (
    TaskScores,
    class_area,
    class_points,
    macro_points,
    paired_with_random,
    task_scores,
)
from miram.reporting.study import Study


@pytest.fixture
def scores() -> TaskScores:
    generator = np.random.default_rng(0)
    labels = np.eye(3, dtype=np.int64)[generator.integers(0, 3, 400)]
    noisy = labels + generator.normal(size=labels.shape)
    return TaskScores(("a", "b", "c"), labels, noisy, np.repeat(np.arange(200), 2).astype(object))


def test_predictions_come_back_in_one_row_per_lesion(scores: TaskScores) -> None:
    frames = [
        pd.DataFrame(
            {
                "lesion_id": [f"L{row:03d}" for row in range(len(scores.labels))],
                "patient_id": scores.patients,
                "task": "t",
                "class": name,
                "label": scores.labels[:, place],
                "score": scores.scores[:, place],
            }
        ).sample(frac=1, random_state=place)
        for place, name in enumerate(scores.classes)
    ]
    other = frames[0].assign(task="other")
    found = task_scores(pd.concat([other, *frames]), "t")
    assert found.classes == scores.classes
    np.testing.assert_array_equal(found.labels, scores.labels)
    np.testing.assert_array_equal(found.scores, scores.scores)
    np.testing.assert_array_equal(found.patients, scores.patients)


def test_area_under_the_class_curve_is_the_auc(scores: TaskScores) -> None:
    for index in range(3):
        x, y = class_points(scores, index)
        expected = roc_auc_score(scores.labels[:, index], scores.scores[:, index])
        assert np.trapezoid(y, x) == pytest.approx(expected, abs=1e-12)
        area = class_area(scores, index, draws=100, seed=0)
        assert area.estimate == pytest.approx(expected)
        assert area.lower < expected < area.upper


def test_area_under_the_macro_curve_is_the_macro_auc(scores: TaskScores) -> None:
    x, y = macro_points(scores)
    expected = roc_auc_score(scores.labels, scores.scores, average="macro")
    assert np.trapezoid(y, x) == pytest.approx(expected, abs=0.005)
    assert (x[0], y[0], x[-1], y[-1]) == (0, 0, 1, 1)
    assert all(a <= b for a, b in pairwise(y))


def test_class_without_positives_has_no_curve(scores: TaskScores) -> None:
    labels = scores.labels.copy()
    labels[:, 2] = 0
    without = TaskScores(scores.classes, labels, scores.scores, scores.patients)
    assert len(class_points(without, 2)[0]) == 0
    two = TaskScores(("a", "b"), labels[:, :2], scores.scores[:, :2], scores.patients)
    np.testing.assert_array_equal(macro_points(without), macro_points(two))


def test_comparison_is_the_difference_of_the_leaderboard(study: Study) -> None:
    tables = {name: result.predictions for name, result in study.methods.items()}
    found = paired_with_random(tables, "pathology", "binary", draws=100, seed=0)
    assert [item.method for item in found] == ["mae", "miram_nystrom"]
    main = study.leaderboard[study.leaderboard["figure"] == "auc"].set_index("method")["estimate"]
    for item in found:
        assert item.difference == pytest.approx(main[item.method] - main["random"])
        assert item.p_value <= item.p_holm


def test_without_random_encoder_nothing_is_compared(without_random: Study) -> None:
    tables = {name: result.predictions for name, result in without_random.methods.items()}
    assert paired_with_random(tables, "pathology", "binary", draws=100, seed=0) == []
