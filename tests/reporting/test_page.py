"""The page says what a reader needs, and nothing it has no right to say."""

import base64
import gzip
import json
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from html.parser import HTMLParser

import numpy as np
import pytest
from plotly.offline import get_plotlyjs
from project_paths import PROJECT

from miram.mammography.sources import explain_code
from miram.reporting.facts.findings import study_findings
from miram.reporting.facts.limits import study_limits
from miram.reporting.facts.methods import over_runs, training_table
from miram.reporting.facts.study import Study
from miram.reporting.page import render_report
from miram.reporting.sections import SECTIONS as PAGE

SECTIONS = (
    "summary",
    "leaderboard",
    "shortcuts",
    "curves",
    "calibration",
    "data",
    "left-out",
    "methods",
    "training",
    "limits",
    "versions",
)
CV = "During pretraining the encoders of mae, miram_nystrom saw the images of the"
WARNING = "Warning: leakage policy “official”."
MakeStudy = Callable[..., Study]


class Page(HTMLParser):
    """What a browser would find: tags with their attributes, text outside scripts."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.parts: list[str] = []
        self.scripts: dict[str, str] = {}
        self._raw: str | None = None
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag in ("script", "style"):
            self._raw = dict(attrs).get("id") or tag

    def handle_endtag(self, tag: str) -> None:
        if tag in ("script", "style"):
            self._raw = None

    def handle_data(self, data: str) -> None:
        if self._raw is None:
            self.parts.append(data)
        else:
            self.scripts[self._raw] = self.scripts.get(self._raw, "") + data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.parts).split())


@pytest.fixture(scope="module")
def page(study: Study) -> Page:
    return Page(render_report(study))


@pytest.fixture(scope="module")
def cv_page(four_class_study: Study) -> Page:
    return Page(render_report(four_class_study))


@pytest.fixture(scope="module")
def leaking_page(leaking_study: Study) -> Page:
    return Page(render_report(leaking_study))


def test_sections_that_apply_are_there_in_their_order_and_all_but_the_answer_are_folded(
    page: Page,
) -> None:
    ids = [attributes.get("id") for attributes in page.all("section")]
    assert ids == list(SECTIONS)
    folds = [tag for tag in page.all("details") if tag.get("class") == "fold"]
    assert len(folds) == len(SECTIONS) - 1
    assert not any("open" in tag for tag in folds)


def test_every_fold_says_its_result_in_its_title(study: Study) -> None:
    lines = re.findall(r'<span class="line">(.*?)</span></summary>', render_report(study))
    assert len(lines) == len(SECTIONS) - 1
    assert all(len(line.split()) > 2 for line in lines)


def test_no_sentence_stands_twice(page: Page, cv_page: Page, seeded_page: Page) -> None:
    for one in (page, cv_page, seeded_page):
        sentences = [text.strip() for text in re.split(r"(?<=[.:]) (?=[A-Z])", one.text)]
        long = [text for text in sentences if len(text.split()) > 6]
        assert [text for text in set(long) if long.count(text) > 1] == []


def test_page_loads_nothing_from_elsewhere(page: Page) -> None:
    addresses = [
        value
        for _, attributes in page.tags
        for name, value in attributes.items()
        if name in ("src", "href", "srcset", "action", "data", "poster")
    ]
    assert addresses
    assert all(address and address.startswith(("#", "data:")) for address in addresses)
    assert "url(" not in page.scripts["style"]
    assert "@import" not in page.scripts["style"]
    policies = [tag["content"] for tag in page.all("meta") if tag.get("http-equiv")]
    assert policies
    assert str(policies[0]).startswith("default-src 'none'; img-src data: blob:;")


def test_page_is_readable_by_a_screen_reader(page: Page) -> None:
    names = [name for name, _ in page.tags]
    assert {"header", "main", "footer", "h1"} <= set(names)
    assert names.count("h1") == 1
    assert names.count("table") == names.count("caption") > 4
    assert all("scope" in attributes for attributes in page.all("th"))
    assert all("alt" in attributes for attributes in page.all("img"))
    charts = [tag for tag in page.all("div") if tag.get("class") == "chart"]
    assert charts
    assert all(tag["role"] == "img" and tag["aria-label"] for tag in charts)
    ids = [attributes["id"] for _, attributes in page.tags if attributes.get("id")]
    assert len(ids) == len(set(ids))
    labels = {tag["aria-labelledby"] for _, tag in page.tags if tag.get("aria-labelledby")}
    assert labels <= set(ids)


def test_every_method_is_in_every_part(page: Page, study: Study) -> None:
    charts = json.loads(page.scripts["charts"])
    for method in study.methods:
        assert any(trace["name"].startswith(f"{method}:") for trace in charts["roc-0-0"]["data"])
        assert any(trace["name"].startswith(f"{method}:") for trace in charts["pr-0-0"]["data"])
        assert page.text.count(method) > 5


def test_every_metric_appears_beside_its_interval_and_its_numbers(page: Page, study: Study) -> None:
    board = study.leaderboard
    for method in study.methods:
        rows = board[board["method"] == method].itertuples()
        cells = " ".join(f"{row.estimate:.3f} {row.lower:.3f} to {row.upper:.3f}" for row in rows)
        assert f"{method} {cells}" in page.text
    best = board.iloc[0]
    assert f"all metrics on {best['lesions']} lesions of {best['patients']} patients" in page.text


def test_majority_answer_is_given_with_its_interval(page: Page, study: Study) -> None:
    facts = study.methods["random"].metrics["tasks"]["pathology"]
    share = f"{100 * facts['majority']:.1f} %"
    assert re.search(rf"Always answering “\w+” is right for {share} \(95", page.text)


def test_research_use_and_synthetic_data_are_declared(page: Page, study: Study) -> None:
    assert "Research use only. Not a medical device." in page.text
    assert "Synthetic data:" in page.text
    real = replace(study, parameters={**study.parameters, "source": "cbis_ddsm"})
    assert "Synthetic data:" not in Page(render_report(real)).text


def test_nothing_is_called_significant_where_patients_are_too_few(page: Page) -> None:
    assert "significan" not in page.text.lower()
    assert "patients are too few for a verdict: it takes 30." in page.text


def test_left_out_lesions_are_counted_with_their_reasons(page: Page, study: Study) -> None:
    dropped = int((study.splits["split"] == "dropped").sum())
    assert dropped > 0
    assert f"both parts of the official split splits left out {dropped} {dropped}" in page.text
    assert "crops upsampled 1 1" in page.text
    assert "20 px enlarged to 32 px" not in page.text, "no row of an audit is quoted"
    assert f"small_lesion {explain_code('small_lesion')}" in page.text
    assert "3 of 64 lesion crops were smaller on the mammogram" in page.text


def test_skipped_tasks_are_listed_with_the_reason(make_study: MakeStudy) -> None:
    found = Page(render_report(make_study(tasks=("pathology", "density"))))
    assert "density task 0 no lesion has a value of density" in found.text


def test_study_without_any_task_is_still_reported(unanswered_study: Study) -> None:
    assert "No task could be evaluated" in Page(render_report(unanswered_study)).text


def test_cross_validation_says_that_encoders_saw_the_patients(cv_page: Page, page: Page) -> None:
    assert "4 folds by patient" in cv_page.text
    assert cv_page.text.count(CV) == 1
    assert CV not in page.text


def test_limits_are_those_of_the_study(cv_page: Page, four_class_study: Study) -> None:
    limits = study_limits(four_class_study)
    assert any("saw images of the patients" in sentence for sentence in limits)
    for sentence in limits:
        assert sentence in cv_page.text


def test_data_that_changed_after_a_training_or_an_evaluation_are_named(
    four_class_study: Study,
) -> None:
    origins = {
        "random": {"crops": four_class_study.crops.digest},
        "mae": {"crops": four_class_study.crops.digest, "trained_on": "older"},
        "miram_nystrom": {"crops": "former"},
    }
    methods = {
        name: replace(result, metrics={**result.metrics, "features": origins[name]})
        for name, result in four_class_study.methods.items()
    }
    changed = replace(four_class_study, methods=methods)
    reported = study_limits(changed)
    new = [sentence for sentence in reported if sentence not in study_limits(four_class_study)]
    assert len(new) == 2
    assert "of mae was trained on the crops older and evaluated on" in new[0]
    assert "metrics of miram_nystrom are of the crops former; those at hand are" in new[1]
    first_screen = Page(render_report(changed)).text.split("Leaderboard")[0]
    assert all(sentence in first_screen for sentence in new)


def test_official_leakage_is_warned_of_before_any_result(leaking_page: Page, page: Page) -> None:
    assert leaking_page.text.count(WARNING) == 1
    assert leaking_page.text.index(WARNING) < leaking_page.text.index("ROC AUC")
    assert WARNING not in page.text


def test_each_class_of_a_task_has_its_own_area_with_interval(
    cv_page: Page,
) -> None:
    for name in ("benign mass", "malignant mass", "benign calc", "malignant calc"):
        assert re.search(
            rf"{name} 16 8( 0\.\d{{3}} \(0\.\d{{3}} to [01]\.\d{{3}}\)){{3}}", cv_page.text
        )


def test_untrained_method_is_reported_as_such(page: Page, study: Study) -> None:
    assert study.methods["random"].history.empty
    assert "2 of 3 methods trained, 5 steps" in page.text
    assert "random untrained encoder" in page.text


def test_hostile_names_stay_text(make_study: MakeStudy) -> None:
    hostile = "<script>alert(1)</script>\"'&{{ 7 * 7 }}"
    html = render_report(make_study(hostile=hostile))
    found = Page(html)
    assert "<script>alert" not in html
    assert hostile in found.text
    assert len(found.all("script")) == 3


def test_hostile_names_cannot_leave_the_chart_data(study: Study) -> None:
    evil = "</script><script>alert(1)</script>"
    board = study.leaderboard.assign(method=study.leaderboard["method"].replace("mae", evil))
    methods = {evil if name == "mae" else name: item for name, item in study.methods.items()}
    html = render_report(replace(study, leaderboard=board, methods=methods))
    assert evil not in html
    traces = json.loads(Page(html).scripts["charts"])["roc-0-0"]["data"]
    assert any(trace["name"].startswith(evil) for trace in traces)


def test_folders_of_the_machine_are_not_published(page: Page) -> None:
    assert "/home/somebody" not in page.text
    assert "vit_tiny_patch16_224" in page.text
    assert "overrides.depth 2" in page.text
    assert "kind of miram_nystrom" in page.text


def test_data_version_and_hashes_are_on_the_page(page: Page, study: Study) -> None:
    assert f"· data {study.crops.digest}" in page.text
    for value in study.crops.info["sha256"].values():
        assert value in page.text


def test_same_study_gives_the_same_page(study: Study) -> None:
    assert render_report(study) == render_report(study)


def test_undefined_metrics_are_named_as_such(study: Study) -> None:
    board = study.leaderboard.copy()
    chosen = (board["method"] == "mae") & (board["metric"] == "auc")
    board.loc[chosen, ["estimate", "lower", "upper"]] = np.nan
    found = Page(render_report(replace(study, leaderboard=board)))
    assert "mae not defined not defined" in found.text
    assert "nan" not in found.text.split()


def test_the_day_is_on_the_page_if_it_is_given(study: Study, page: Page) -> None:
    assert "5 March 2026 · Phantom" in Page(render_report(study, day=date(2026, 3, 5))).text
    assert "2026 ·" not in page.text


def test_the_answer_is_the_best_pretrained_method_beside_both_references(
    study: Study, page: Page
) -> None:
    (finding,) = study_findings(study)
    assert finding.trained is not None and finding.over_untrained is not None
    best, lead = finding.trained, finding.over_untrained
    ends = f"{best.estimate:.3f} {best.lower:.3f} to {best.upper:.3f}"
    assert f"{best.method} highest of 2 pretrained {ends}" in page.text
    over = f"{lead.difference:+.3f} {lead.lower:.3f} to {lead.upper:.3f}"
    assert over in page.text.split("untrained encoder")[1]


def test_library_of_the_charts_travels_compressed_and_whole(page: Page) -> None:
    packed = base64.b64decode(page.scripts["plotly"])
    assert gzip.decompress(packed).decode() == get_plotlyjs()


@pytest.fixture(scope="module")
def seeded_page(seeded: Study) -> Page:
    return Page(render_report(seeded))


def test_spread_over_runs_is_shown_where_there_are_several(
    seeded: Study, seeded_page: Page
) -> None:
    for row in seeded.leaderboard.itertuples():
        spread = f"{row.lower:.3f} to {row.upper:.3f} SD {row.seed_deviation:.3f}, 2 seeds"
        assert spread in seeded_page.text


@pytest.mark.parametrize(
    "sentence",
    [
        "Metrics are means over 2 seeds: the spread over seeds is not in the intervals",
        "Estimates on this page are means over 2 seeds.",
        "The curves are those of the first seed. Bins of equal size",
    ],
)
def test_figures_are_said_to_be_means_over_runs(
    seeded_page: Page, page: Page, sentence: str
) -> None:
    assert sentence in seeded_page.text
    assert sentence not in page.text


def test_where_methods_differ_in_seeds_the_most_is_reported(study: Study, seeded: Study) -> None:
    methods = {**seeded.methods, "random": study.methods["random"]}
    assert over_runs(methods) == "means over up to 2 seeds"
    assert over_runs(seeded.methods) == "means over 2 seeds"
    assert over_runs(study.methods) == ""


def test_guide_names_the_sections_of_the_page_in_their_order() -> None:
    guide = (PROJECT / "docs/report.md").read_text(encoding="utf-8")
    named = re.findall(r"^\*\*(.+?)\.?\*\*", guide, re.MULTILINE)
    assert named == [section.title for section in PAGE]


def test_single_training_is_said_to_be_one(page: Page, seeded_page: Page) -> None:
    assert "Every metric comes from one training at most" in page.text
    assert "SD " not in page.text
    assert "one training at most" not in seeded_page.text


def test_every_training_has_a_row_and_every_seed_a_line(seeded: Study, seeded_page: Page) -> None:
    chart = json.loads(seeded_page.scripts["charts"])["losses"]
    first, second = (line for line in chart["data"] if line["name"].startswith("mae"))
    assert (first["name"], second["name"]) == ("mae, seed 5", "mae, seed 7")
    assert first["x"] == second["x"]
    assert first["line"]["color"] == second["line"]["color"]
    assert [one["text"] for one in chart["layout"]["annotations"]] == ["mae", "miram_nystrom"]
    table = training_table(seeded.methods)
    assert [row[:3] for row in table.rows[:3]] == [
        ("random", 0, 0),
        ("mae, seed 5", 1, 5),
        ("mae, seed 7", 1, 5),
    ]
    assert [row[3] for row in table.rows[1:3]] == [5.0, 7.0]
    assert "mae, seed 7 1 5" in seeded_page.text
