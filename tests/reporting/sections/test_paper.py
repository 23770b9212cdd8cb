"""The paper beside ours: exact intervals, and tests only where the test set is the same."""

import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from miram.evaluation.statistics.bootstrap import cluster_bootstrap
from miram.mammography.lesion_table import leaking_patients
from miram.reporting.facts.words import percents
from miram.reporting.page import _environment
from miram.reporting.sections.paper import (
    LEAKING_PATIENTS,
    PAPER,
    PUBLISHED,
    TEST_CLASSES,
    TEST_LESIONS,
    paper_table,
)
from miram.reporting.styles import method_style


def metrics(accuracy, *, half=0.045, lesions=704, strategy="official", leakage="drop"):
    figure = {"estimate": accuracy, "lower": accuracy - half, "upper": accuracy + half}
    task = {"lesions": lesions, "patients": 345, "metrics": {"accuracy": figure}}
    return {"strategy": strategy, "leakage": leakage, "tasks": {"pathology4": task}}


def ours(**changes):
    methods = {"random": 0.40, "mae": 0.58, "miram_nystrom": 0.50}
    return {name: metrics(value, **changes) for name, value in methods.items()}


def text(table):
    return " ".join(table.sentences)


def test_published_intervals_are_wilsons_on_the_official_test_lesions():
    z = stats.norm.ppf(0.975)
    table = paper_table({}, source=None)
    assert [row.accuracy for row in table.rows] == [0.610, 0.602, 0.589]
    for row in table.rows:
        p, n = row.accuracy, 704
        center = (p + z**2 / (2 * n)) / (1 + z**2 / n)
        half = z / (1 + z**2 / n) * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
        assert (row.lower, row.upper) == pytest.approx((center - half, center + half))
        assert row.lesions == TEST_LESIONS and row.patients is None
    # the half-width that the data set leaves, as every reader can check it
    assert "3.6 points either way, 25 lesions" in text(table)


def test_the_papers_leads_are_15_and_6_lesions_and_within_the_noise():
    found = {item.second.name: item for item in paper_table({}, source=None).differences}
    assert {name: round(item.difference * 704) for name, item in found.items()} == {
        "MAE": 15,
        "MoCo-v3": 6,
    }
    for item in found.values():
        assert item.within_noise and item.lower < 0 < item.upper and item.p_value > 0.4
        assert item.p_holm >= item.p_value
    # The score test is the z test with the pooled share and N / (N - 1) (Miettinen & Nurminen).
    item, n = found["MAE"], 704
    pooled = (item.first.accuracy + item.second.accuracy) / 2
    z = item.difference / np.sqrt(pooled * (1 - pooled) * 2 / n * 2 * n / (2 * n - 1))
    assert item.p_value == pytest.approx(2 * stats.norm.sf(z), rel=1e-6)


def test_counts_of_the_test_parts_are_those_of_the_data_set(shared_data):
    folder = shared_data / "cbis_ddsm" / "csv"
    parts = []
    for kind, word in (("mass", "mass"), ("calc", "calc")):
        for side in ("train", "test"):
            table = pd.read_csv(folder / f"{kind}_case_description_{side}_set.csv")
            parts.append(table[["patient_id", "pathology"]].assign(kind=word, official_split=side))
    table = pd.concat(parts, ignore_index=True)
    malignant = np.where(table["pathology"] == "MALIGNANT", "malignant ", "benign ")
    classes = (malignant + table["kind"])[table["official_split"] == "test"]
    assert classes.value_counts().to_dict() == TEST_CLASSES
    assert len(leaking_patients(table)) == LEAKING_PATIENTS


def test_each_method_is_tested_against_its_own_published_figure():
    table = paper_table(ours(), source="cbis_ddsm")
    pairs = {(item.first.name, item.second.name): item for item in table.differences}
    assert set(pairs) == {
        ("MIRAM-Nyström", "MoCo-v3"),
        ("MIRAM-Nyström", "MAE"),
        ("mae", "MAE"),
        ("miram_nystrom", "MIRAM-Nyström"),
    }
    assert pairs["mae", "MAE"].within_noise
    assert not pairs["miram_nystrom", "MIRAM-Nyström"].within_noise
    said = text(table)
    assert "Our mae is 0.9 points below the published MAE, or 6 of 704 lesions" in said
    assert re.search(r"Our miram_nystrom is 11\.0 points below .*: more than chance explains", said)
    assert [row.name for row in table.rows if not row.published] == list(ours())


def test_lesions_of_one_patient_count_as_fewer_lesions():
    """Patients who bring every lesion four times are no more evidence than without the copies."""
    random = np.random.default_rng(0)
    right, patients = (random.random(176) < 0.6).astype(int), np.arange(176)
    four = cluster_bootstrap(
        np.repeat(right, 4), np.ones(704), np.repeat(patients, 4), ["accuracy"], seed=0
    )["accuracy"]
    found = metrics(four.estimate)
    found["tasks"]["pathology4"]["metrics"]["accuracy"] |= {
        "lower": four.lower,
        "upper": four.upper,
    }
    row = paper_table({"mae": found}, source="cbis_ddsm").rows[-1]
    assert row.lesions == 704 and row.effective_lesions == pytest.approx(176, rel=0.1)
    narrow = replace(row, lower=row.accuracy - 0.001, upper=row.accuracy + 0.001)
    undefined = replace(row, lower=float("nan"), upper=float("nan"))
    assert narrow.effective_lesions == undefined.effective_lesions == 704
    assert percents(undefined) == "not defined"


def test_wider_intervals_of_ours_make_a_difference_less_certain():
    sharp = paper_table({"mae": metrics(0.50, half=0.036)}, source="cbis_ddsm").differences[-1]
    wide = paper_table({"mae": metrics(0.50, half=0.10)}, source="cbis_ddsm").differences[-1]
    assert sharp.difference == wide.difference and wide.p_value > 10 * sharp.p_value
    assert not sharp.within_noise and wide.within_noise


def test_p_values_are_corrected_over_all_differences():
    differences = paper_table(ours(), source="cbis_ddsm").differences
    smallest = min(differences, key=lambda item: item.p_value)
    assert smallest.p_holm == pytest.approx(len(differences) * smallest.p_value)


@pytest.mark.parametrize(
    ("found", "source", "words"),
    [
        (ours(), "phantom", "the data are another collection (phantom)"),
        (ours(strategy="cv"), "cbis_ddsm", "lesions were evaluated by cross-validation"),
        (ours(lesions=300), "cbis_ddsm", "300 instead of 704 lesions were evaluated"),
        ({}, "cbis_ddsm", "this study did not evaluate the task pathology4"),
        ({"mae": {"tasks": {}}}, "cbis_ddsm", "this study did not evaluate the task pathology4"),
    ],
)
def test_another_test_is_not_compared_and_the_reason_is_said(found, source, words):
    table = paper_table(found, source=source)
    assert words in text(table)
    assert all(item.first.published for item in table.differences)


@pytest.mark.parametrize(
    ("leakage", "words"),
    [("drop", "Ours leave them out of training"), ("official", "So do ours")],
)
def test_the_leakage_policy_is_said(leakage, words):
    table = paper_table(ours(leakage=leakage), source="cbis_ddsm")
    assert "31 patients are in both parts" in text(table) and words in text(table)
    assert table.rows[-1].policy == f"official, leakage {leakage}"


def test_a_different_protocol_is_mentioned():
    probe = text(paper_table(ours(), source="cbis_ddsm"))
    tuned = text(paper_table(ours(), source="cbis_ddsm", fine_tuned=ours()))
    assert "Our accuracies are those of a linear probe" in probe
    assert "a difference may be due to the protocol" in probe
    assert "protocol" not in tuned


def test_a_fine_tuned_encoder_replaces_its_probe_as_the_papers_are_fine_tuned():
    other_task = {"strategy": "official", "leakage": "drop", "tasks": {"pathology": {}}}
    fine_tuned = {"mae": metrics(0.60), "miram_nystrom": other_task, "moco_v3": metrics(0.55)}
    table = paper_table(ours(), source="cbis_ddsm", fine_tuned=fine_tuned)
    mine = {row.name: (row.accuracy, row.fine_tuned) for row in table.rows[len(PUBLISHED) :]}
    assert mine == {
        "random": (0.40, False),
        "mae": (0.60, True),
        "miram_nystrom": (0.50, False),
        "moco_v3": (0.55, True),
    }
    assert all(row.fine_tuned for row in table.rows[: len(PUBLISHED)])
    said = text(table)
    assert "Our mae is 1.1 points above the published MAE" in said
    assert "Our accuracies except those of mae, moco_v3 are those of a linear probe" in said


@pytest.fixture
def render():
    template = _environment(()).get_template("paper.html")

    def rendered(table):
        names = [row.name for row in table.rows]
        styles = {name: method_style(name) for name in names}
        return " ".join(template.render(paper=table, publication=PAPER, styles=styles).split())

    return rendered


def test_the_page_shows_every_row_and_sentence(render):
    hostile = {"<script>": metrics(0.5), **ours()}
    table = paper_table(hostile, source="cbis_ddsm")
    html = render(table)
    assert html.count("<tr>") == 1 + len(table.rows)
    assert "<script>" not in html and "&lt;script&gt;" in html
    for words in (
        "2503.07157",
        "linear probe",
        "fine-tuned",
        "57.3 to 64.5 %",
        "61.0 %",
        "not stated",
        "official, leakage drop",
        "345",
    ):
        assert words in html
    assert html.count("<li>") == len(table.sentences)
    published = len(PUBLISHED)
    assert html.count('class="swatch"') == len(table.rows) - published


def test_the_metrics_of_a_real_assessment_fit(make_study):
    study = make_study(tasks=("pathology4",))
    found = {name: result.metrics for name, result in study.methods.items()}
    table = paper_table(found, source="cbis_ddsm")
    assert {row.name for row in table.rows if not row.published} == set(found)
    assert "lesions were evaluated" in text(table)
    board = study.leaderboard.query("metric == 'accuracy'").set_index("method")
    for row in table.rows[len(PUBLISHED) :]:
        assert (row.accuracy, row.lower) == tuple(board.loc[row.name, ["estimate", "lower"]])
