"""The report: one self-contained HTML page about a whole study."""

import json
from collections.abc import Mapping
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from plotly.graph_objects import Figure
from plotly.offline import get_plotlyjs

from miram.evaluation.assessment import AssessmentConfig
from miram.provenance import git_commit, versions
from miram.reporting import roc
from miram.reporting.contact_sheet import contact_sheet
from miram.reporting.cost import cost_figure, cost_rows
from miram.reporting.figures import (
    NOT_TRAINED,
    PARTS,
    leaderboard_figure,
    loss_columns,
    loss_comparison,
    loss_label,
    scales_of,
)
from miram.reporting.images import data_uri, strip
from miram.reporting.paper_table import PaperTable, paper_table
from miram.reporting.settings import method_table, setting_tables
from miram.reporting.study import MethodResult, Study
from miram.reporting.styles import MAIN_FIGURES, figure_direction, figure_label, method_style
from miram.reporting.summary import TaskFinding, task_findings
from miram.reporting.tables import data_facts, left_out, skipped_parts, training_table
from miram.reporting.words import interval, number

_SHEET = (10, 4)  # columns and rows of the contact sheet


def render_report(study: Study, costs: pd.DataFrame | None = None) -> str:
    """Write the page of a study.

    The page needs no network and no other file, and the same study gives the same page.

    Args:
        study: The finished study.
        costs: Table of `miram.reporting.cost.cost_table`; without it costs are left out.

    Returns:
        HTML.
    """
    config = AssessmentConfig.model_validate(study.parameters.get("probe", AssessmentConfig()))
    options = {"draws": config.bootstrap_draws, "seed": config.seed}
    findings = task_findings(study, config.comparison, **options)
    curves = [_task_curves(study.methods, item, config) for item in findings]
    losses = loss_columns(result.history for result in study.methods.values())
    names = list(study.methods)
    return (
        _environment()
        .get_template("report.html")
        .render(
            study=study,
            source=study.parameters.get("source"),
            strategy=study.splits["strategy"].iloc[0],
            leakage=study.splits["leakage"].iloc[0],
            folds=study.splits["split"].nunique(),
            findings=findings,
            draws=config.bootstrap_draws,
            facts=data_facts(study),
            contact_sheet=_contact_sheet(study),
            left_out=left_out(study),
            skipped=skipped_parts(study.methods),
            method_settings=method_table(study.parameters, names),
            settings=setting_tables(study.parameters, names),
            training=training_table(study.methods),
            losses={name: loss_label(name) for name in losses},
            reconstructions=_reconstructions(study.methods),
            curves=curves,
            board=_board(study.leaderboard),
            outside=_outside_interval(study.leaderboard),
            styles={name: method_style(name) for name in (*names, *study.leaderboard["method"])},
            commit=git_commit(),
            versions=versions(),
            paper=_paper(study),
            costs=None if costs is None else cost_rows(costs),
            charts=_charts(study, losses, curves, costs),
            not_trained=NOT_TRAINED,
            plotly=Markup(get_plotlyjs()),
        )
    )


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("miram.reporting"),
        autoescape=True,
        undefined=StrictUndefined,
        lstrip_blocks=True,
    )
    environment.filters["figure"] = number
    environment.filters["p_value"] = lambda p: "< 0.001" if p < 0.001 else number(p)
    environment.filters["percent"] = lambda value: f"{100 * value:.1f} %"
    environment.filters["percents"] = lambda value: (
        f"{100 * value.lower:.1f} to {100 * value.upper:.1f} %"
    )
    environment.filters["interval"] = _interval
    return environment


def _interval(value: Any) -> str:
    """The interval of anything with `lower` and `upper`."""
    if isinstance(value, Mapping):
        return interval(value["lower"], value["upper"])
    return interval(value.lower, value.upper)


def _contact_sheet(study: Study) -> dict[str, Any]:
    image = contact_sheet(study.crops, *_SHEET)
    return {"uri": data_uri(image), "width": image.width, "height": image.height}


def _reconstructions(methods: Mapping[str, MethodResult]) -> dict[str, list[dict[str, Any]]]:
    """Strips of target, masked input and prediction by method, one entry per scale."""
    return {
        method: [
            {"scale": scale, **_strips(result.reconstructions, scale)}
            for scale in scales_of(result.reconstructions)
        ]
        for method, result in methods.items()
    }


def _strips(arrays: Mapping[str, Any], scale: int) -> dict[str, Any]:
    first = arrays[f"scale{scale}_target"]
    strips = {part: strip(arrays[f"scale{scale}_{part}"]) for part in PARTS}
    return {
        "side": first.shape[-1],
        "count": len(first),
        "width": strips["target"].width,
        "height": strips["target"].height,
        "parts": {part: data_uri(image) for part, image in strips.items()},
    }


def _task_curves(
    methods: Mapping[str, MethodResult], finding: TaskFinding, config: AssessmentConfig
) -> dict[str, Any]:
    """ROC curves of a task: of the task as a whole, and of each class where there are several."""
    found = {
        method: roc.task_scores(result.predictions, finding.task)
        for method, result in methods.items()
        if finding.task in result.metrics["tasks"]
    }
    areas = {method: _main_area(methods[method], finding.task) for method in found}
    several = len(next(iter(found.values())).classes) > 1
    return {
        "finding": finding,
        "several": several,
        "figure": _drawn({name: roc.macro_points(item) for name, item in found.items()}, areas),
        "classes": _class_curves(found, config) if several else [],
    }


def _main_area(result: MethodResult, task: str) -> Mapping[str, float]:
    figures = result.metrics["tasks"][task]["figures"]
    return next(figures[name] for name in MAIN_FIGURES if name in figures)


def _class_curves(
    found: Mapping[str, roc.TaskScores], config: AssessmentConfig
) -> list[dict[str, Any]]:
    options = {"draws": config.bootstrap_draws, "seed": config.seed}
    first = next(iter(found.values()))
    curves = []
    for index, name in enumerate(first.classes):
        areas = {method: roc.class_area(item, index, **options) for method, item in found.items()}
        points = {method: roc.class_points(item, index) for method, item in found.items()}
        curves.append(
            {
                "name": name,
                "lesions": int(first.labels[:, index].sum()),
                "patients": len(set(first.patients[first.labels[:, index] == 1])),
                "areas": areas,
                "figure": _drawn(points, areas),
            }
        )
    return curves


def _drawn(points: Mapping[str, roc.Points], areas: Mapping[str, Any]) -> Figure:
    texts = {}
    for method, area in areas.items():
        estimate = area["estimate"] if isinstance(area, Mapping) else area.estimate
        texts[method] = f"{number(estimate)} ({_interval(area)})"
    return roc.roc_figure(points, texts)


def _board(leaderboard: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows of the leaderboard with the words of their figures."""
    return [
        {
            **{str(name): value for name, value in row.items()},
            "label": figure_label(row["figure"]),
            "better": figure_direction(row["figure"]),
            "main": row["figure"] in MAIN_FIGURES,
        }
        for row in leaderboard.to_dict("records")
    ]


def _outside_interval(leaderboard: pd.DataFrame) -> list[str]:
    """Figures, in words, of which an estimate lies beside its own interval."""
    estimate = leaderboard["estimate"]
    outside = (estimate < leaderboard["lower"]) | (estimate > leaderboard["upper"])
    return [figure_label(name) for name in dict.fromkeys(leaderboard.loc[outside, "figure"])]


def _paper(study: Study) -> PaperTable:
    metrics = {method: result.metrics for method, result in study.methods.items()}
    return paper_table(metrics, source=study.parameters.get("source"))


def _charts(
    study: Study, losses: list[str], curves: list[dict[str, Any]], costs: pd.DataFrame | None
) -> dict[str, Any]:
    """All charts by the id of their place on the page, as plain JSON values."""
    histories = {method: result.history for method, result in study.methods.items()}
    figures = {f"loss-{place}": loss_comparison(histories, n) for place, n in enumerate(losses)}
    figures["leaderboard-chart"] = leaderboard_figure(study.leaderboard)
    for place, task in enumerate(curves):
        figures[f"roc-{place}"] = task["figure"]
        for index, item in enumerate(task["classes"]):
            figures[f"roc-{place}-{index}"] = item["figure"]
    if costs is not None:
        figures["cost-chart"] = cost_figure(costs)
    # The page brings its own light and dark theme.
    return {
        name: json.loads(figure.update_layout(template="none").to_json())
        for name, figure in figures.items()
    }
