"""Fine-tuned encoders stand on the page beside the probes, and only under the same splits."""

from dataclasses import replace

import pandas as pd
import pytest
from reports import words

from miram.errors import MiramError
from miram.reporting.facts.findings import study_findings
from miram.reporting.facts.leaderboard import leaderboard_table
from miram.reporting.facts.study import Study
from miram.reporting.page import render_report
from miram.reporting.sections.costs import cost_table
from miram.reporting.sections.leaderboard import task_forest


@pytest.fixture
def tuned(study: Study) -> Study:
    """A study of which one encoder was fine-tuned, with another method's metrics for it."""
    fine_tuned = {"mae": study.methods["miram_nystrom"].metrics}
    metrics = {name: result.metrics for name, result in study.methods.items()}
    return replace(study, leaderboard=leaderboard_table(metrics, fine_tuned), fine_tuned=fine_tuned)


def test_the_page_shows_its_metrics_with_their_protocol(tuned: Study) -> None:
    text = words(render_report(tuned))
    figure = tuned.fine_tuned["mae"]["tasks"]["pathology"]["metrics"]["auc"]
    assert f"mae, fine-tuned {figure['estimate']:.3f}" in text


def test_without_any_the_page_does_not_speak_of_them(study: Study) -> None:
    assert "mae, fine-tuned" not in render_report(study)


def test_the_forest_plot_names_them(tuned: Study) -> None:
    plot = task_forest(tuned.leaderboard, study_findings(tuned)[0])
    names = [row.name for row in plot.rows]
    assert sorted(names) == ["mae", "mae, fine-tuned", "miram_nystrom", "random"]
    assert plot.rows[0].note == "highest of 4"


def test_results_of_the_probes_stay_as_they_were(tuned: Study, study: Study) -> None:
    assert study_findings(tuned) == study_findings(study)
    pd.testing.assert_frame_equal(cost_table(tuned), cost_table(study))


def test_a_study_of_methods_under_different_splits_is_refused(study: Study) -> None:
    leaky = replace(
        study.methods["mae"], metrics={**study.methods["mae"].metrics, "leakage": "official"}
    )
    with pytest.raises(MiramError, match="mae under official, leakage official"):
        replace(study, methods={**study.methods, "mae": leaky})


def test_a_study_whose_splits_are_newer_than_its_metrics_is_refused(study: Study) -> None:
    newer = study.splits.assign(leakage="official")
    with pytest.raises(MiramError, match=r"under other splits \(official, leakage drop\)"):
        replace(study, splits=newer)
