"""The findings follow from the metrics, and the settings from the parameters."""

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from miram.evaluation.config import AssessmentConfig, ComparisonConfig
from miram.evaluation.predictions import TaskScores
from miram.reporting.facts.data import data_facts
from miram.reporting.facts.findings import (
    Standing,
    TaskFinding,
    frequent_answer,
    study_findings,
)
from miram.reporting.facts.methods import (
    ABSENT,
    flatten,
    method_table,
    setting_tables,
    training_table,
)
from miram.reporting.facts.study import Study
from miram.reporting.facts.words import Table
from miram.reporting.page import render_report


def comparing(study: Study, **options: Any) -> Study:
    comparison = ComparisonConfig.model_validate(options)
    config = study.assessment.model_copy(update={"comparison": comparison})
    return replace(study, parameters={**study.parameters, "evaluation": config})


@pytest.fixture(scope="module")
def finding(study: Study) -> TaskFinding:
    return study_findings(study)[0]


@pytest.mark.parametrize(
    ("lower", "upper", "expected"),
    [(0.6, 0.8, True), (0.5, 0.55, True), (0.71, 0.9, False), (np.nan, np.nan, None)],
)
def test_overlap_follows_from_the_ends(lower: float, upper: float, expected: bool | None) -> None:
    fixed = Standing("random", 0.6, 0.55, 0.7)
    assert Standing("mae", 0.7, lower, upper).overlaps(fixed) is expected
    assert fixed.overlaps(Standing("mae", 0.7, lower, upper)) is expected


@pytest.mark.parametrize(
    ("lower", "upper", "expected"),
    [(0.51, 0.8, "above"), (0.5, 0.8, "around"), (0.2, 0.49, "below"), (np.nan, np.nan, "")],
)
def test_chance_level_is_compared_with_the_interval(
    finding: TaskFinding, lower: float, upper: float, expected: str
) -> None:
    best = Standing("mae", 0.6, lower, upper)
    assert replace(finding, leaders=(best,)).against_chance == expected


def test_leader_has_the_highest_metric_and_ties_share_it(study: Study) -> None:
    board = study.leaderboard.copy()
    main = board["metric"] == "auc"
    board.loc[main & board["method"].isin(["mae", "random"]), "estimate"] = 0.99
    found = study_findings(replace(study, leaderboard=board))[0]
    assert {item.method for item in found.leaders} == {"mae", "random"}
    assert found.untrained is not None and found.untrained.method == "random"
    assert found.trained is not None and found.trained.method == "mae"


def test_methods_are_compared_with_the_reference_that_was_chosen(study: Study) -> None:
    found = study_findings(comparing(study, reference="mae", metric="balanced_accuracy"))[0]
    assert (found.reference, found.compared) == ("mae", "Balanced accuracy")
    assert [row.method for row in found.comparisons] == ["random", "miram_nystrom"]
    assert found.metric == "ROC AUC"


def test_methods_outside_the_noise_follow_from_corrected_p_values(finding: TaskFinding) -> None:
    first, second = finding.comparisons
    rows = (
        replace(first, difference=0.2, p_holm=0.049),
        replace(second, difference=-0.1, p_holm=0.001),
        replace(second, method="other", difference=0.3, p_value=0.01, p_holm=0.05),
    )
    many = replace(finding, patients=30, comparisons=rows)
    assert many.outside_noise == {"above": (first.method,), "below": (second.method,)}
    assert replace(many, patients=29).outside_noise == {"above": (), "below": ()}


def test_few_patients_are_no_ground_for_a_verdict(finding: TaskFinding) -> None:
    assert replace(finding, patients=29).too_few
    assert not replace(finding, patients=30).too_few


def _scores(labels: np.ndarray, classes: tuple[str, ...]) -> TaskScores:
    patients = np.arange(len(labels)).astype(object)
    return TaskScores(classes, labels, labels.astype(float), patients)


def test_majority_answer_of_each_kind_of_task() -> None:
    binary = _scores(np.array([[1], [1], [1], [0]]), ("malignant",))
    answer, share = frequent_answer(binary, "binary", ["benign", "malignant"], 100, 0)
    assert (answer, share.estimate) == ("malignant", 0.75)
    single = _scores(np.eye(3, dtype=int)[[0, 1, 1, 1, 2]], ("a", "b", "c"))
    answer, share = frequent_answer(single, "single", ["a", "b", "c"], 100, 0)
    assert (answer, share.estimate) == ("b", 0.6)
    multi = _scores(np.array([[1, 0], [1, 0], [1, 1], [0, 0]]), ("a", "b"))
    answer, share = frequent_answer(multi, "multi", ["a", "b"], 100, 0)
    assert (answer, share.estimate) == ("", 0.75)
    assert share.lower <= 0.75 <= share.upper


def test_majority_agrees_with_the_assessment(study: Study, finding: TaskFinding) -> None:
    facts = study.methods["mae"].metrics["tasks"]["pathology"]
    assert finding.majority.estimate == pytest.approx(facts["majority"])
    assert finding.majority.patients == facts["patients"]


def test_counts_add_up(study: Study) -> None:
    facts = data_facts(study)
    rows = {row[0]: row[1:] for row in facts.counts.rows}
    parts = [row for name, row in rows.items() if name != "all"]
    assert list(rows) == ["train", "val", "test", "dropped", "all"]
    assert sum(row[0] for row in parts) == rows["all"][0] == facts.lesions == 64
    assert (facts.patients, facts.mammograms, facts.uncut, facts.upsampled) == (32, 64, 0, 3)
    assert facts.bits == {16: 64}


def test_settings_of_configuration_objects_and_plain_values_are_written_alike() -> None:
    config = AssessmentConfig(bootstrap_draws=123)
    assert flatten(config) == flatten(config.model_dump())
    assert flatten(config)["bootstrap_draws"] == "123"
    assert flatten({"a": [{"b": 1.0}, {"b": None}], "c": [1, 2], "d": {}, "e": True}) == {
        "a.0.b": "1",
        "a.1.b": "none",
        "c": "1, 2",
        "e": "true",
    }


def test_method_settings_stand_side_by_side() -> None:
    parameters = {"mae": {"method": {"kind": "x", "depth": 2}}, "random": {"method": {"kind": "r"}}}
    table = method_table(parameters, ["random", "mae", "unknown"])
    assert table.columns == ("Setting", "random", "mae", "unknown")
    assert table.rows == (("kind", "r", "x", ABSENT), ("depth", ABSENT, "2", ABSENT))


def test_settings_hide_folders_and_parts_for_use_elsewhere() -> None:
    parameters = {"data_root": "/x", "_low": {"a": 1}, "mae": {}, "training": {"epochs": 3}}
    assert list(setting_tables(parameters, ["mae"])) == ["training"]


def test_training_table_counts_epochs_and_leaves_missing_losses_empty(study: Study) -> None:
    table = training_table(study.methods)
    rows = {row[0]: row[1:] for row in table.rows}
    assert rows["random"] == (0, 0, None, None, None)
    assert rows["mae"][:2] == (1, 5)
    assert rows["mae"][2] == pytest.approx(0.2)


def test_columns_of_numbers_are_known_in_spite_of_empty_cells() -> None:
    table = Table(("a", "b", "c", "d"), (("x", None, 1.5, None), ("y", 2, "z", None)))
    assert table.numeric == (False, True, False, False)
    assert Table(("a", "b"), ()).numeric == (False, False)


def test_a_baseline_is_compared_where_it_is_named_and_only_there(study: Study) -> None:
    with_baseline = replace(study, baselines={"hog": study.methods["random"].predictions})

    def compared(**options: Any) -> tuple[str, list[str]]:
        (finding,) = study_findings(comparing(with_baseline, **options))
        return finding.reference, [row.method for row in finding.comparisons]

    others = [name for name in study.methods if name != "random"]
    assert compared() == ("random", others)
    assert compared(reference="hog") == ("hog", list(study.methods))
    assert compared(reference="mae", methods=("hog",)) == ("mae", ["hog"])


@pytest.mark.parametrize(
    ("estimates", "sentence"),
    [
        ((0.98, 0.2), "1 of 2 has a higher metric than every method"),
        ((0.98, 0.99), "2 of 2 have a higher metric than every method"),
        ((0.1, 0.2), "none has a higher metric than the best method"),
    ],
)
def test_baselines_that_lead_are_reported_beside_the_best_method(
    study: Study, estimates: tuple[float, float], sentence: str
) -> None:
    board = study.leaderboard
    example = board[(board["method"] == "mae") & (board["metric"] == "auc")]
    rows = [
        example.assign(method=name, estimate=estimate)
        for name, estimate in zip(("hog", "box_size"), estimates, strict=True)
    ]
    with_baselines = replace(study, leaderboard=pd.concat([board, *rows], ignore_index=True))
    (finding,) = study_findings(with_baselines)
    assert [item.estimate for item in finding.baselines] == sorted(estimates, reverse=True)
    assert finding.methods == len(study.methods)
    assert sentence in " ".join(re.sub(r"<[^>]+>", " ", render_report(with_baselines)).split())


def test_tasks_come_in_the_order_asked(make_study: Callable[..., Study]) -> None:
    study = make_study(tasks=("pathology4", "pathology"), strategy="cv")
    names = [item.task for item in study_findings(study)]
    assert names == ["pathology4", "pathology"]
