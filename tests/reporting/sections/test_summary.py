import re
from dataclasses import replace

import pytest

from miram.reporting.charts.forest import forest_of, main_forest
from miram.reporting.facts.findings import study_findings
from miram.reporting.page import render_report


def verdict(study):
    text = re.search(r'<p class="verdict">(.*?)</p>', render_report(study), re.DOTALL)
    return text[1]


def test_the_first_sentence_says_with_its_interval_what_pretraining_gave(cv_study):
    [finding] = study_findings(cv_study)
    best = finding.better[0]  # features of miram_nystrom hold the label
    assert best.method == "miram_nystrom"
    ends = f"{best.lower:.3f} to {best.upper:.3f}"
    assert verdict(cv_study).startswith(
        f"Pretraining with miram_nystrom improves ROC AUC by {best.difference:.3f} "
        f"(95 % interval {ends}) over the untrained encoder."
    )


def test_without_a_difference_it_says_that_no_method_differed(cv_study):
    methods = {name: cv_study.methods["random"] for name in ("random", "mae")}
    board = cv_study.leaderboard[cv_study.leaderboard["method"].isin(methods)]
    study = replace(cv_study, methods=methods, leaderboard=board)
    assert verdict(study) == "No method differed significantly from the untrained encoder."
    html = render_report(study)
    assert "after Holm's correction over 1 method." in html
    assert '<span class="line">No method differed significantly from the untrained' in html


def test_the_forest_plot_holds_all_intervals_and_marks_the_highest(cv_study):
    [finding] = study_findings(cv_study)
    plot = main_forest(finding)
    assert [row.name for row in plot.rows] == [one.method for one in finding.standings]
    assert [row.note for row in plot.rows] == ["highest of 3", "", ""]
    for row in plot.rows:
        assert plot.ticks[0] <= row.standing.lower <= row.standing.upper <= plot.ticks[-1]
    assert (plot.place(plot.ticks[0]), plot.place(plot.ticks[-1])) == ("0.00%", "100.00%")
    middle = (plot.ticks[0] + plot.ticks[-1]) / 2
    assert plot.place(middle) == "50.00%"


@pytest.mark.parametrize(
    ("ends", "ticks"),
    [
        ((0.55, 0.68), (0.5, 0.6, 0.7)),
        ((0.0, 1.0), (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)),
        ((0.22, 0.9), (0.2, 0.4, 0.6, 0.8, 1.0)),
        ((0.31, 0.98), (0.2, 0.4, 0.6, 0.8, 1.0)),
    ],
)
def test_the_axis_of_a_forest_plot_is_named_in_round_steps(cv_study, ends, ticks):
    [finding] = study_findings(cv_study)
    row = main_forest(finding).rows[0]
    one = replace(row.standing, lower=ends[0], upper=ends[1])
    assert forest_of(finding, [replace(row, standing=one)], 1).ticks == ticks
