"""A section is one class with its template; studies of any subset of methods have a page."""

import importlib.util
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pandas as pd
import pytest
from reports import words

from miram.errors import MiramError
from miram.models.methods import METHODS
from miram.reporting.cards import claim_checklist, model_card
from miram.reporting.facts.leaderboard import leaderboard_table
from miram.reporting.facts.study import Study
from miram.reporting.page import render_report
from miram.reporting.sections import SECTIONS, Section
from miram.reporting.sections.costs import cost_table

MODULE = """
from plotly.graph_objects import Figure

from miram.reporting.sections import Section


class Tallest(Section):
    title = "The tallest method"
    template = "tallest_method.html"

    def data(self, study):
        figure = Figure().add_bar(x=list(study.methods), y=[1] * len(study.methods))
        name = max(study.methods, key=len)
        return {"name": name, "line": f"{len(name)} letters", "charts": {"tallest-chart": figure}}
"""
TEMPLATE = """{% from "macros.html" import chart with context %}
<p>It is {{ name }}, & more.</p>{{ chart("tallest-chart", "Names") }}
"""


@pytest.fixture
def module(tmp_path: Path) -> ModuleType:
    (tmp_path / "tallest.py").write_text(MODULE, encoding="utf-8")
    (tmp_path / "tallest_method.html").write_text(TEMPLATE, encoding="utf-8")
    spec = importlib.util.spec_from_file_location("tallest", tmp_path / "tallest.py")
    assert spec and spec.loader
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


def test_a_section_of_ones_own_needs_a_class_and_a_template(
    study: Study, module: ModuleType
) -> None:
    html = render_report(study, (*SECTIONS, module.Tallest()))
    section = html.split('<section id="tallest-method"')[1].split("</section>")[0]
    assert "It is miram_nystrom, & more." in section
    assert 'id="tallest-chart"' in section
    assert 'The tallest method</h2><span class="line">13 letters</span>' in section
    assert '"tallest-chart": {"data"' in html


def test_two_sections_with_one_id_are_refused(study: Study, module: ModuleType) -> None:
    with pytest.raises(MiramError, match=r"use the id '(tallest-chart|tallest-method)'.*Tallest"):
        render_report(study, (module.Tallest(), module.Tallest()))


@pytest.mark.parametrize("section", SECTIONS, ids=lambda one: one.anchor)
def test_each_section_renders_alone(study: Study, section: Section) -> None:
    study = replace(study, costs=cost_table(study))
    html = render_report(study, (section,))
    assert html.count("<section ") == section.applies(study)
    assert (f'id="{section.anchor}-title"' in html) == section.applies(study)


def subset(study: Study, *names: str, baselines: bool = False) -> Study:
    methods = {name: study.methods[name] for name in names}
    predictions = {"hog": study.methods["random"].predictions} if baselines else {}
    metrics = {name: one.metrics for name, one in methods.items()}
    metrics |= {name: study.methods["random"].metrics for name in predictions}
    board = leaderboard_table(metrics)
    found = replace(study, methods=methods, leaderboard=board, baselines=predictions)
    return replace(found, costs=cost_table(found))


@pytest.mark.parametrize(
    ("names", "baselines"),
    [
        (("mae",), False),
        (("random",), True),
        (("random", "mae"), False),
        (("mae", "miram_nystrom"), True),
    ],
)
def test_any_subset_of_methods_is_reported(
    study: Study, names: tuple[str, ...], baselines: bool
) -> None:
    some = subset(study, *names, baselines=baselines)
    text = words(render_report(some))
    assert f"· {len(names)} method" in text
    assert ("No method was compared with the untrained encoder" in text) == (
        "random" not in names or len(names) == 1
    )
    assert ("highest of 1 hand-crafted" in text) == baselines
    missing = [name for name in METHODS if name not in names]
    assert f"Methods without a result, which this report leaves out: {', '.join(missing)}." in text
    assert f"kedro run --namespaces {','.join(missing)}" in text
    for name in names:
        assert f"# {name}: an encoder" in model_card(some, name)
    assert len(claim_checklist(some)) == 44


def test_only_methods_that_were_asked_for_are_missing(study: Study) -> None:
    asked = {**study.parameters, "methods": ["random", "mae", "moco_v3"]}
    assert replace(study, parameters=asked).missing == ("moco_v3",)
    complete = replace(study, parameters={**asked, "methods": list(study.methods)})
    assert complete.missing == ()
    assert "Methods without a result" not in render_report(complete)


def test_a_study_without_a_method_is_refused(study: Study) -> None:
    with pytest.raises(MiramError, match="no evaluated method to report on"):
        replace(study, methods={})


def test_an_undefined_metric_of_every_method_leaves_a_page(study: Study) -> None:
    board = study.leaderboard.copy()
    board.loc[board["metric"] == "auc", ["estimate", "lower", "upper"]] = pd.NA
    assert "2 pretrained not defined" in words(render_report(replace(study, leaderboard=board)))
