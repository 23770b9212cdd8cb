"""A repeated cross-validation: page, card and checklist report it, and what no interval covers."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from reports import words

from miram.errors import MiramError
from miram.evaluation.config import ComparisonConfig
from miram.reporting.cards import card_data, claim_checklist, model_card
from miram.reporting.facts.data import split_facts
from miram.reporting.facts.findings import paired_with_reference
from miram.reporting.facts.limits import study_limits
from miram.reporting.facts.methods import beside_intervals, over_runs
from miram.reporting.facts.study import Study
from miram.reporting.page import render_report

MakeStudy = Callable[..., Study]
ONCE = "Patients were assigned to folds once"


@pytest.fixture(scope="module")
def repeated(make_study: MakeStudy) -> Study:
    return make_study(strategy="cv", repeats=2)


def test_the_page_reports_repeats_and_their_spread(cv_study: Study, repeated: Study) -> None:
    page, other = words(render_report(repeated)), words(render_report(cv_study))
    assert "4 folds by patient, 2 times; every lesion is evaluated once in each repeat" in page
    assert "4 folds by patient; every lesion is evaluated once, by" in other
    assert "SD " not in other
    for row in repeated.leaderboard.itertuples():
        assert row.repeats == 2
        assert (
            f"{row.lower:.3f} to {row.upper:.3f} SD {row.repeat_deviation:.3f}, 2 repeats" in page
        )
    assert "The curves are those of the first repeat." in page
    assert "Estimates on this page are means over 2 repeats of the cross-validation." in page


def test_what_no_interval_covers_is_said(study: Study, cv_study: Study, repeated: Study) -> None:
    assert ONCE in beside_intervals(cv_study.methods)
    assert any(ONCE in sentence for sentence in study_limits(cv_study))
    assert ONCE in words(render_report(cv_study))
    for other in (study, repeated):
        assert ONCE not in beside_intervals(other.methods)
        assert "one training at most" in beside_intervals(other.methods)
    assert "the spread over repeats is not in the intervals" in beside_intervals(repeated.methods)


def test_seeds_and_repeats_are_reported_together(seeded: Study, repeated: Study) -> None:
    metrics = {**repeated.methods["mae"].metrics}
    metrics["tasks"] = {"pathology": {**metrics["tasks"]["pathology"], "seeds": [5, 7]}}
    both = {"mae": replace(repeated.methods["mae"], metrics=metrics)}
    assert over_runs(both) == "means over 2 seeds and 2 repeats of the cross-validation"
    assert "the spread over seeds and repeats" in beside_intervals(both)
    assert over_runs(seeded.methods) == "means over 2 seeds"


def test_card_and_checklist_report_repeats(cv_study: Study, repeated: Study) -> None:
    card = model_card(repeated, "mae")
    area = repeated.methods["mae"].metrics["tasks"]["pathology"]["metrics"]["auc"]
    assert "| Metric | Estimate | 95 % interval | SD over repeats |" in card
    assert f"{area['repeat_deviation']:.3f}" in card
    assert "SD over" not in model_card(cv_study, "mae")
    result = next(r for r in card_data(repeated, "mae").eval_results if r.metric_type == "roc_auc")
    assert result.dataset_split == "cross-validation, 4 folds, 2 times"
    assert result.metric_args["repeats"] == 2
    assert result.metric_args["repeat_deviation"] == area["repeat_deviation"]
    answers = {item.number: item.answer for item in claim_checklist(repeated)}
    assert "means over 2 repeats of the cross-validation" in answers[29]
    assert "and the folds: metrics are means over 2 repeats" in answers[30]
    assert "The seed was not varied" in answers[30]
    assert "first seed" not in answers[26]


def test_a_fold_of_every_repeat_has_its_own_supervised_encoder(repeated: Study) -> None:
    facts = split_facts(repeated.splits)
    assert (facts.folds, facts.repeats) == (4, 2)
    assert "4 folds by patient, 2 times; every lesion is evaluated once in each repeat" in str(
        facts
    )


def test_methods_of_different_folds_are_not_compared(cv_study: Study, repeated: Study) -> None:
    results = {
        "random": repeated.methods["random"].predictions,
        "mae": cv_study.methods["mae"].predictions,
    }
    with pytest.raises(MiramError, match="mae and random were evaluated in different folds"):
        paired_with_reference(results, "pathology", "binary", ComparisonConfig(), draws=100, seed=0)
