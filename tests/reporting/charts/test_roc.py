"""ROC curves agree with the areas that stand beside them."""

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import auc, roc_auc_score

from miram.errors import MiramError
from miram.evaluation.config import ComparisonConfig
from miram.evaluation.statistics.comparison import Comparison
from miram.evaluation.statistics.inputs import SeedScores
from miram.evaluation.statistics.metrics import compute_metrics
from miram.reporting.charts.roc import (
    TaskScores,
    class_points,
    macro_points,
    paired_with_reference,
    task_scores,
)
from miram.reporting.facts.study import Study

Tables = dict[str, pd.DataFrame]


def paired(tables: Tables, config: ComparisonConfig) -> list[Comparison]:
    return paired_with_reference(tables, "pathology", "binary", config, draws=100, seed=0)


@pytest.fixture
def tables(study: Study) -> Tables:
    return {name: result.predictions for name, result in study.methods.items()}


@pytest.fixture
def scores() -> TaskScores:
    generator = np.random.default_rng(0)
    labels = np.eye(3, dtype=np.int64)[generator.integers(0, 3, 400)]
    noisy = labels + generator.normal(size=labels.shape)
    seeds = SeedScores((noisy,))
    return TaskScores(("a", "b", "c"), labels, seeds, np.repeat(np.arange(200), 2).astype(object))


def test_predictions_come_back_in_one_row_per_lesion(scores: TaskScores) -> None:
    frames = [
        pd.DataFrame(
            {
                "lesion_id": [f"L{row:03d}" for row in range(len(scores.labels))],
                "patient_id": scores.patients,
                "task": "t",
                "class": name,
                "label": scores.labels[:, place],
                "score": scores.each()[0][:, place],
            }
        ).sample(frac=1, random_state=place)
        for place, name in enumerate(scores.classes)
    ]
    other = frames[0].assign(task="other")
    found = task_scores(pd.concat([other, *frames]), "t")
    assert found.classes == scores.classes
    np.testing.assert_array_equal(found.labels, scores.labels)
    np.testing.assert_array_equal(found.each(), scores.each())
    np.testing.assert_array_equal(found.patients, scores.patients)


def test_area_under_the_class_curve_is_the_auc(scores: TaskScores) -> None:
    for index in range(3):
        x, y = class_points(scores, index)
        expected = roc_auc_score(scores.labels[:, index], scores.each()[0][:, index])
        assert np.trapezoid(y, x) == pytest.approx(expected, abs=1e-12)


def test_area_under_the_macro_curve_is_the_macro_auc(scores: TaskScores) -> None:
    x, y = macro_points(scores)
    expected = roc_auc_score(scores.labels, scores.each()[0], average="macro")
    assert np.trapezoid(y, x) == pytest.approx(expected, abs=1e-12)
    assert (x[0], y[0], x[-1], y[-1]) == (0, 0, 1, 1)
    assert all(a <= b for a, b in pairwise(y))


def test_class_without_positives_has_no_curve(scores: TaskScores) -> None:
    labels = scores.labels.copy()
    labels[:, 2] = 0
    without = TaskScores(scores.classes, labels, scores.seeds, scores.patients)
    assert len(class_points(without, 2)[0]) == 0
    two = TaskScores(("a", "b"), labels[:, :2], scores.seeds.of(np.s_[:, :2]), scores.patients)
    np.testing.assert_array_equal(macro_points(without), macro_points(two))


def test_comparison_is_the_difference_of_the_leaderboard(study: Study) -> None:
    tables = {name: result.predictions for name, result in study.methods.items()}
    found = paired(tables, ComparisonConfig())
    assert [item.method for item in found] == ["mae", "miram_nystrom"]
    main = study.leaderboard[study.leaderboard["metric"] == "auc"].set_index("method")["estimate"]
    for item in found:
        assert item.difference == pytest.approx(main[item.method] - main["random"])
        assert item.p_value <= item.p_holm


def test_without_random_encoder_nothing_is_compared(without_random: Study) -> None:
    tables = {name: result.predictions for name, result in without_random.methods.items()}
    assert paired(tables, ComparisonConfig()) == []


def test_the_user_chooses_reference_methods_and_figure(study: Study, tables: Tables) -> None:
    config = ComparisonConfig(reference="mae", methods=("miram_nystrom",), metric="brier")
    (found,) = paired(tables, config)
    assert (found.method, found.reference, found.metric) == ("miram_nystrom", "mae", "brier")
    board = study.leaderboard[study.leaderboard["metric"] == "brier"]
    brier = board.set_index("method")["estimate"]
    assert found.difference == pytest.approx(brier["miram_nystrom"] - brier["mae"])
    assert found.p_holm == found.p_value  # one comparison needs no correction


def test_tasks_that_are_not_to_be_compared_are_not(tables: Tables) -> None:
    assert paired(tables, ComparisonConfig(tasks=("density",))) == []
    assert len(paired(tables, ComparisonConfig(tasks=("density", "pathology")))) == 2


@pytest.mark.parametrize("named", [{"reference": "mea"}, {"methods": ("mea",)}])
def test_a_method_that_is_not_in_the_study_is_told(tables: Tables, named: dict) -> None:
    with pytest.raises(MiramError, match="'mea', which is not in this study: choose among random"):
        paired(tables, ComparisonConfig(**named))


def test_methods_judged_on_different_lesions_are_not_paired(tables: Tables) -> None:
    first = tables["mae"]["lesion_id"].iloc[0]
    fewer = tables | {"mae": tables["mae"][tables["mae"]["lesion_id"] != first]}
    with pytest.raises(MiramError, match="mae and random were judged on different lesions"):
        paired(fewer, ComparisonConfig())


def test_comparisons_are_of_the_linear_probe_whatever_else_was_run(tables: Tables) -> None:
    expected = paired(tables, ComparisonConfig())
    beside = {
        name: pd.concat([table, table.assign(protocol="knn", score=1 - table["score"])])
        for name, table in tables.items()
    }
    assert paired(beside, ComparisonConfig()) == expected


def test_the_curve_of_several_seeds_has_the_mean_of_their_areas() -> None:
    random = np.random.default_rng(1)
    labels = np.tile([[0], [1]], (10, 1))
    each = tuple(random.random((20, 1)).round(1) for _ in range(3))  # with ties
    found = TaskScores(("a",), labels, SeedScores(each), np.arange(20).astype(object))
    areas = [roc_auc_score(labels[:, 0], one[:, 0]) for one in each]
    assert auc(*class_points(found, 0)) == pytest.approx(np.mean(areas), abs=1e-12)


def test_the_curve_of_several_folds_has_the_area_of_the_tables() -> None:
    random = np.random.default_rng(1)
    labels, folds = random.integers(2, size=(60, 1)), random.integers(4, size=60)
    each = tuple(
        (labels + random.normal(size=(60, 1))).round(1) / (1 + folds[:, None]) for _ in "ab"
    )
    found = TaskScores(("a",), labels, SeedScores(each, folds), np.arange(60).astype(object))
    areas = [compute_metrics(labels[:, 0], one[:, 0], ["auc"], folds)["auc"] for one in each]
    assert auc(*class_points(found, 0)) == pytest.approx(np.mean(areas), abs=1e-12)
