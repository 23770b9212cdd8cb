"""Calibration, subgroups and label efficiency are shown with numbers and intervals, or not at all.

All tables are those that the evaluation writes.
"""

import json
import re
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from reports import words
from sample_lesions import FEW_FITS

from miram.evaluation.config import AssessmentConfig
from miram.evaluation.label_efficiency import label_efficiency_table
from miram.evaluation.predictions import calibration_table as reliability_rows
from miram.evaluation.predictions import subgroup_metrics
from miram.evaluation.probes.scoring import features_by_seed
from miram.reporting.facts.study import MethodResult, Study
from miram.reporting.page import render_report
from miram.reporting.sections.calibration import bin_table, calibration_table, reliability_figure
from miram.reporting.sections.label_efficiency import (
    label_figure,
    label_rows,
    label_table,
    tasks_without_draws,
)
from miram.reporting.sections.subgroups import subgroup_figure, subgroup_rows, subgroup_table

TASK = "pathology"


def _features(study: Study) -> pd.DataFrame:
    names = study.splits["lesion_id"]
    values = np.random.default_rng(2).normal(size=(len(names), 3))
    table = pd.DataFrame(values, columns=["f0", "f1", "f2"])
    table.insert(0, "lesion_id", names.to_numpy())
    return table


def _filled(study: Study, result: MethodResult, *, curve: bool) -> MethodResult:
    config = AssessmentConfig.model_validate(
        {
            "bootstrap_draws": 100,
            "linear_probe": FEW_FITS,
            "label_efficiency": {"shares": [0.5, 1.0], "draws": 2},
        }
    )
    features = _features(study)
    by_seed = features_by_seed(features, study.splits["lesion_id"])
    # Without `enabled` the pipeline saves an empty table.
    empty = pd.DataFrame()
    return replace(
        result,
        calibration=reliability_rows(result.predictions, result.metrics),
        subgroups=subgroup_metrics(result.predictions, study.lesions, result.metrics, config),
        label_efficiency=label_efficiency_table(by_seed, study.lesions, study.splits, config)
        if curve
        else empty,
        features=features,
    )


@pytest.fixture(scope="module")
def filled(study: Study) -> Study:
    """The plain study with all that the probe pipeline saves; one method with its label curve."""
    methods = {
        name: _filled(study, result, curve=name == "mae") for name, result in study.methods.items()
    }
    return replace(study, methods=methods)


@pytest.fixture(scope="module")
def html(filled: Study) -> str:
    return render_report(filled)


@pytest.fixture(scope="module")
def text(html: str) -> str:
    return words(html)


def test_reliability_curves_show_every_bin_with_its_interval(filled: Study) -> None:
    figure = reliability_figure("mae", filled.methods["mae"], TASK)
    diagonal, curve, _, scaled = figure.data
    rows = filled.methods["mae"].calibration.query("task == @TASK and scaling == 'none'")
    assert list(diagonal.x) == list(diagonal.y) == [0, 1]
    assert list(curve.x) == pytest.approx(rows["confidence"].tolist(), abs=1e-4)
    upper = np.array(curve.y) + np.array(curve.error_y.array)
    lower = np.array(curve.y) - np.array(curve.error_y.arrayminus)
    assert upper == pytest.approx(rows["upper"].to_numpy(), abs=2e-4)
    assert lower == pytest.approx(rows["lower"].to_numpy(), abs=2e-4)
    first = rows.iloc[0]
    assert f"{first['answers']} answers, {first['patients']} patients" in curve.text[0]
    assert list(curve.x) != list(scaled.x)
    axes = figure.layout
    assert axes.xaxis.range == axes.xaxis2.range == axes.yaxis.range == axes.yaxis2.range


def test_calibration_table_has_all_methods_and_intervals_before_and_after(filled: Study) -> None:
    table = calibration_table(filled.methods, TASK)
    assert [row[0] for row in table.rows] == list(filled.methods)
    entry = filled.methods["mae"].metrics["tasks"][TASK]
    row = dict(zip(table.columns, table.rows[1], strict=True))
    for part, when in (
        (entry["metrics"], "as predicted"),
        (entry["calibration"]["metrics"], "after"),
    ):
        one = part["ece"]
        cell = next(v for k, v in row.items() if "calibration error" in k and when in k)
        assert cell == f"{one['estimate']:.3f} ({one['lower']:.3f} to {one['upper']:.3f})"
    assert (row["Lesions"], row["Patients"]) == (entry["lesions"], entry["patients"])


def test_every_bin_of_every_method_stands_in_a_table(filled: Study) -> None:
    table = bin_table(filled.methods, TASK)
    bins = [item.calibration[item.calibration["task"] == TASK] for item in filled.methods.values()]
    assert len(table.rows) == sum(map(len, bins)) > 0
    assert {row[0] for row in table.rows} == set(filled.methods)
    first = bins[0].iloc[0]
    assert table.rows[0][2:4] == (first["confidence"], first["frequency"])


def test_subgroups_have_numbers_intervals_and_a_verdict(filled: Study) -> None:
    rows = subgroup_rows(filled.methods, TASK, ("mae", "random"))
    table = subgroup_table(rows)
    assert [row[1] for row in table.rows[:4]] == ["mae", "random", "mae", "random"]
    assert [row[0] for row in table.rows[:4:2]] == [row[0] for row in table.rows[1:4:2]]
    # 14 test patients at most: never enough for a verdict.
    assert set(rows["verdict"]) == {"too few"}
    source = filled.methods["mae"].subgroups.iloc[0]
    shown = dict(zip(table.columns, table.rows[0], strict=True))
    assert shown["Estimate"] == source["estimate"]
    assert shown["95 % interval"] == f"{source['lower']:.3f} to {source['upper']:.3f}"
    assert (shown["Lesions"], shown["Patients"]) == (source["lesions"], source["patients"])


def test_subgroup_chart_marks_those_without_a_verdict(filled: Study) -> None:
    rows = subgroup_rows(filled.methods, TASK, ("mae", "random"))
    evaluated = rows.assign(verdict="no difference shown")
    assert {mark for one in subgroup_figure(rows).data for mark in one.marker.symbol} == {
        "circle-open",
        "x-open",
    }
    assert {mark for one in subgroup_figure(evaluated).data for mark in one.marker.symbol} == {
        "circle",
        "x",
    }


def test_subgroup_chart_says_how_many_lesions_and_patients_each_metric_has(filled: Study) -> None:
    rows = subgroup_rows(filled.methods, TASK, ("mae",))
    figure = subgroup_figure(rows)
    row = rows.iloc[0]
    assert (
        f"{row['lesions']} lesions, {row['patients']} patients" in figure.layout.yaxis.ticktext[0]
    )
    assert figure.data[0].error_x.array[0] == pytest.approx(row["upper"] - row["estimate"])


def test_subgroups_that_lack_a_class_are_not_drawn(filled: Study) -> None:
    rows = subgroup_rows(filled.methods, TASK, ("mae",)).reset_index(drop=True)
    rows.loc[0, ["estimate", "lower", "upper"]] = np.nan
    assert len(subgroup_figure(rows).data[0].x) == len(rows) - 1
    assert len(subgroup_table(rows).rows) == len(rows)
    nothing = subgroup_figure(rows.assign(estimate=np.nan, lower=np.nan))
    assert not nothing.data
    assert "lacks a class" in nothing.layout.annotations[0].text


def test_values_of_the_lesion_table_cannot_format_a_chart(filled: Study) -> None:
    rows = subgroup_rows(filled.methods, TASK, ("mae",)).assign(value="<a href='x'>&")
    assert "&lt;a href='x'&gt;&amp;" in subgroup_figure(rows).layout.yaxis.ticktext[0]


def test_label_curve_shows_shares_with_their_spread(filled: Study) -> None:
    rows = label_rows(filled.methods, TASK)
    assert set(rows["method"]) == {"mae"}
    assert rows["metric"].unique().tolist() == ["auc"]
    (pale,) = label_figure(rows, ()).data
    assert (pale.showlegend, pale.error_y.visible) == (False, False)
    (curve,) = label_figure(rows, ("mae",)).data
    assert (curve.showlegend, curve.error_y.visible) == (True, True)
    assert list(curve.x) == rows["training_patients"].tolist()
    assert curve.error_y.array[0] == pytest.approx(
        rows["upper"].iloc[0] - rows["estimate"].iloc[0], abs=1e-4
    )
    half, whole = label_table(rows).rows
    assert (half[1], whole[1]) == ("50 %", "100 %")
    assert whole[5] == "one draw"
    assert half[-2:] == (rows["lesions"].iloc[0], rows["patients"].iloc[0])


def test_page_shows_what_was_measured(filled: Study, text: str) -> None:
    assert "Whole patients are drawn for training; the evaluated lesions stay the same" in text
    assert "Open markers: too few patients for a verdict" in text
    assert text.count("Nearest 5 of") >= 2
    row = subgroup_table(subgroup_rows(filled.methods, TASK, ("random",))).rows[0]
    assert f"{row[0]} random {row[2]} {row[3]} {row[4]:.3f} {row[5]} too few" in text


def test_no_sentence_stands_twice_though_several_tasks_are_shown(
    make_study: Callable[..., Study],
) -> None:
    asked = make_study(tasks=("pathology", "pathology4"))
    methods = {name: _filled(asked, one, curve=True) for name, one in asked.methods.items()}
    html = render_report(replace(asked, methods=methods))
    html = re.sub(r"(?s)<(script|style|thead|tbody).*?</\1>", " ", html)
    text = " ".join(re.sub(r"<[^>]+>", " ", html).split())
    sentences = [one.strip() for one in re.split(r"(?<=[.:]) (?=[A-Z])", text)]
    long = [one for one in sentences if len(one.split()) > 7]
    assert len(long) > 20
    assert [one for one in set(long) if long.count(one) > 1] == []


def test_page_draws_a_chart_in_every_place_and_knows_no_other(html: str) -> None:
    places = re.findall(r'class="chart" id="([^"]+)"', html)
    charts = re.search(r'(?s)<script type="application/json" id="charts">(.*?)</script>', html)
    assert charts
    assert sorted(places) == sorted(json.loads(charts[1]))
    assert {"calibration-0-0", "subgroups-0", "labels-0", "pr-0-0"} <= set(places)


def test_pictures_of_neighbors_tell_what_they_are(html: str) -> None:
    section = html.split('id="neighbors"')[1].split("</section>")[0]
    pictures = re.findall(r'<img src="(data:[^"]+)"[^>]* alt="([^"]*)"', section)
    assert len(pictures) % 6 == 0
    assert len(pictures) >= 12
    assert all(re.fullmatch(r"(Lesion chosen|Neighbor \d), .+", words) for _, words in pictures)


def test_label_efficiency_without_a_usable_draw_is_not_called_unmeasured(
    filled: Study, text: str
) -> None:
    measured = filled.methods["mae"].label_efficiency
    no_draw = measured.drop_duplicates("share").assign(metric="none", estimate=None, draws=0)
    mae = replace(filled.methods["mae"], label_efficiency=no_draw)
    study = replace(filled, methods={**filled.methods, "mae": mae})
    assert tasks_without_draws(study.methods) == [TASK]
    assert tasks_without_draws(filled.methods) == []
    sentence = f"Measured, but without a result: {TASK}."
    page = render_report(study)
    assert sentence in page
    assert sentence not in text


def test_neighbors_of_several_seeds_are_said_to_be_of_the_first(
    filled: Study, seeded: Study, html: str
) -> None:
    reported = "Features and answers are those of the first seed."
    features = pd.concat([_features(seeded).assign(seed=seed) for seed in (5, 7)])
    methods = {name: replace(result, features=features) for name, result in seeded.methods.items()}
    assert reported in render_report(replace(seeded, methods=methods))
    assert reported not in html
