"""The findings follow from the metrics, and the settings from the parameters."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from reports import words

from miram.evaluation.config import AssessmentConfig, ComparisonConfig
from miram.evaluation.predictions import TaskScores
from miram.reporting.facts.data import data_facts
from miram.reporting.facts.findings import (
    TaskFinding,
    majority_answer,
    study_findings,
)
from miram.reporting.facts.methods import (
    ABSENT,
    differing_settings,
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


def test_methods_without_labels_are_preferred_for_the_answer(study: Study) -> None:
    def renamed(name: str) -> Study:
        names = {"miram_nystrom": name, "random": "random", "mae": "mae"}
        methods = {names[old]: result for old, result in study.methods.items()}
        board = study.leaderboard.assign(method=study.leaderboard["method"].map(names))
        return replace(study, methods=methods, leaderboard=board)

    (finding,) = study_findings(renamed("supervised"))
    assert finding.standings[0].method == "supervised"
    assert finding.trained is not None and finding.trained.method == "mae"
    assert finding.chosen_from == 1
    (finding,) = study_findings(renamed("moco_v3"))
    assert finding.trained is not None and finding.trained.method == "moco_v3"
    assert finding.chosen_from == 2


def test_methods_are_compared_with_the_reference_that_was_chosen(study: Study) -> None:
    found = study_findings(comparing(study, reference="mae", metric="balanced_accuracy"))[0]
    assert (found.reference, found.compared) == ("mae", "Balanced accuracy")
    assert [row.method for row in found.comparisons] == ["random", "miram_nystrom"]
    assert found.metric == "ROC AUC"


def test_significance_is_claimed_where_corrected_p_values_show_it_and_nowhere_else(
    finding: TaskFinding,
) -> None:
    first, second = finding.comparisons
    gain = replace(first, method="mae", difference=0.2, lower=0.1, upper=0.3, p_holm=0.049)
    loss = replace(second, method="moco_v3", difference=-0.1, p_holm=0.001)
    unsure = replace(second, method="other", difference=0.3, p_value=0.01, p_holm=0.05)
    many = replace(finding, patients=30, comparisons=(gain, loss, unsure))
    assert (many.better, many.worse) == ((gain,), (loss,))
    assert many.verdict == (
        "Pretraining with mae improves ROC AUC by 0.200 (95 % interval 0.100 to 0.300) over the "
        "untrained encoder. Significantly worse: moco_v3."
    )
    assert replace(many, comparisons=(unsure,)).verdict == (
        "No method differed significantly from the untrained encoder."
    )
    assert replace(many, comparisons=(loss, unsure)).verdict == (
        "No method is better than the untrained encoder. Significantly worse: moco_v3."
    )
    few = replace(many, patients=29)
    assert (few.better, few.worse) == ((), ())
    assert few.verdict == "29 patients are too few for a verdict: it takes 30."
    none = replace(many, comparisons=())
    assert none.verdict == "No method was compared with the untrained encoder."


def test_a_lower_metric_is_a_gain_where_lower_is_better(finding: TaskFinding) -> None:
    brier = {"metric": "brier", "difference": -0.2, "lower": -0.3, "upper": -0.1, "p_holm": 0.01}
    row = replace(finding.comparisons[0], method="supervised", **brier)
    lower = replace(finding, patients=30, comparisons=(row,), compared="Brier score")
    assert lower.better == (row,)
    assert lower.verdict.startswith(
        "supervised improves Brier score by 0.200 (95 % interval 0.100 to 0.300) over"
    )


def test_few_patients_are_no_ground_for_a_verdict(finding: TaskFinding) -> None:
    assert replace(finding, patients=29).too_few
    assert not replace(finding, patients=30).too_few


def _scores(labels: np.ndarray, classes: tuple[str, ...]) -> TaskScores:
    patients = np.arange(len(labels)).astype(object)
    return TaskScores(classes, labels, labels.astype(float), patients)


def test_majority_answer_of_each_kind_of_task() -> None:
    binary = _scores(np.array([[1], [1], [1], [0]]), ("malignant",))
    config = AssessmentConfig(bootstrap_draws=100)
    facts: dict[str, Any] = {"kind": "binary", "classes": ["benign", "malignant"]}
    answer, share = majority_answer(binary, facts, config)
    assert (answer, share.estimate) == ("malignant", 0.75)
    single = _scores(np.eye(3, dtype=int)[[0, 1, 1, 1, 2]], ("a", "b", "c"))
    facts = {"kind": "single", "classes": ["a", "b", "c"]}
    answer, share = majority_answer(single, facts, config)
    assert (answer, share.estimate) == ("b", 0.6)
    multi = _scores(np.array([[1, 0], [1, 0], [1, 1], [0, 0]]), ("a", "b"))
    answer, share = majority_answer(multi, {"kind": "multi", "classes": ["a", "b"]}, config)
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


def test_method_settings_stand_side_by_side(study: Study) -> None:
    parameters = {"mae": {"method": {"kind": "x", "depth": 2}}, "random": {"method": {"kind": "r"}}}
    table = method_table(replace(study, parameters=parameters), ["random", "mae", "unknown"])
    assert table.columns == ("Setting", "random", "mae", "unknown")
    assert table.rows == (("kind", "r", "x", ABSENT), ("depth", ABSENT, "2", ABSENT))


def test_settings_that_differ_are_told_from_those_that_methods_share() -> None:
    table = Table(
        ("Setting", "random", "mae", "moco_v3"),
        (("kind", "r", "m", "c"), ("mask", ABSENT, "0.75", ABSENT), ("heads", "2", "2", ABSENT)),
    )
    differing, alike = differing_settings(table)
    assert [row[0] for row in differing.rows] == ["kind"]
    assert [row[0] for row in alike.rows] == ["mask", "heads"]
    assert differing.columns == alike.columns == table.columns


def test_settings_hide_folders_and_parts_for_use_elsewhere(study: Study) -> None:
    parameters = {"data_root": "/x", "_low": {"a": 1}, "mae": {}, "training": {"epochs": 3}}
    assert list(setting_tables(replace(study, parameters=parameters))) == ["training"]


def test_training_table_counts_epochs_and_leaves_missing_losses_empty(study: Study) -> None:
    table = training_table(study.methods)
    rows = {row[0]: row[1:] for row in table.rows}
    assert rows["random"] == (0, 0, None, None, None)
    assert rows["mae"][:2] == (1, 5)
    assert rows["mae"][2] == pytest.approx(0.2)


def test_training_table_says_how_many_encoders_share_the_steps(study: Study) -> None:
    mae = study.methods["mae"]
    folds = pd.concat([mae.history.assign(fold=fold) for fold in "012"])
    table = training_table({"mae": replace(mae, history=folds)})
    assert [row[0] for row in table.rows] == ["mae, 3 encoders"]
    assert table.numeric[1:3] == (True, True)


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


def test_the_best_baseline_is_compared_with_the_best_pretrained_method(study: Study) -> None:
    board = study.leaderboard
    rows = [board[board["method"] == "random"].assign(method=name) for name in ("hog", "lbp")]
    rows[1] = rows[1].assign(estimate=rows[1]["estimate"] - 0.01)
    found = replace(
        study,
        leaderboard=pd.concat([board, *rows], ignore_index=True),
        baselines={name: study.methods["random"].predictions for name in ("hog", "lbp")},
    )
    (finding,) = study_findings(found)
    assert [item.method for item in finding.baselines] == ["hog", "lbp"]
    assert finding.trained is not None
    assert finding.over_baseline is not None and finding.over_untrained is not None
    assert (finding.over_baseline.method, finding.over_baseline.reference) == (
        finding.trained.method,
        "hog",
    )
    # The same scores as the untrained encoder's: the same difference.
    assert finding.over_baseline.difference == finding.over_untrained.difference
    assert "hog highest of 2 hand-crafted" in words(render_report(found))


def test_tasks_come_in_the_order_asked(make_study: Callable[..., Study]) -> None:
    study = make_study(tasks=("pathology4", "pathology"), strategy="cv")
    names = [item.task for item in study_findings(study)]
    assert names == ["pathology4", "pathology"]
