"""The report: one self-contained HTML page about a whole study."""

import base64
import gzip
import json
from collections.abc import Mapping
from functools import cache
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from plotly.graph_objects import Figure
from plotly.offline import get_plotlyjs

from miram.provenance import git_commit, versions
from miram.reporting.charts.curves import task_curves
from miram.reporting.charts.images import contact_sheet, data_uri, strip
from miram.reporting.charts.label_efficiency import tasks_without_draws
from miram.reporting.charts.styles import MAIN_METRICS, method_style, metric_direction, metric_label
from miram.reporting.charts.training import (
    NOT_TRAINED,
    PARTS,
    leaderboard_figure,
    loss_columns,
    loss_comparison,
    loss_label,
    scales_of,
)
from miram.reporting.facts.cost import cost_figure, cost_rows
from miram.reporting.facts.limits import RESEARCH_ONLY, saw_images, study_limits
from miram.reporting.facts.methods import assessment_config, borrowed_weights
from miram.reporting.facts.paper import PaperTable, paper_table
from miram.reporting.facts.seeds import beside_intervals, over_seeds
from miram.reporting.facts.settings import method_table, setting_tables
from miram.reporting.facts.study import MethodResult, Study
from miram.reporting.facts.summary import VERDICT_PATIENTS, TaskFinding, task_findings
from miram.reporting.facts.tables import (
    data_facts,
    left_out,
    most_repeats,
    most_seeds,
    skipped_parts,
    training_table,
)
from miram.reporting.facts.words import interval, number, p_value
from miram.reporting.page.task_views import (
    TaskView,
    calibration_view,
    label_view,
    neighbor_view,
    subgroup_view,
)

_SHEET = (10, 4)  # columns and rows of the contact sheet


def render_report(study: Study, costs: pd.DataFrame | None = None) -> str:
    """Write the page of a study.

    The page needs no network and no other file, and the same study gives the same page.

    Args:
        study: The finished study.
        costs: Table of `miram.reporting.facts.cost.cost_table`; without it costs are left out.

    Returns:
        HTML.
    """
    config = assessment_config(study)
    options = {"draws": config.bootstrap_draws, "seed": config.seed}
    findings = task_findings(study, config.comparison, **options)
    curves = [task_curves(study.methods, item) for item in findings]
    views = _views(study, findings)
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
            verdict_patients=VERDICT_PATIENTS,
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
            **views,
            without_draws=tasks_without_draws(study.methods),
            neighbors=neighbor_view(study, findings),
            board=_board(study.leaderboard),
            outside=_outside_interval(study.leaderboard),
            styles={name: method_style(name) for name in (*names, *study.leaderboard["method"])},
            commit=git_commit(),
            versions=versions(),
            paper=_paper(study),
            costs=None if costs is None else cost_rows(costs),
            charts=_charts(study, losses, curves, costs) | _plain(_charts_of(views)),
            not_trained=NOT_TRAINED,
            encoders=_encoders(study.methods),
            seeds=most_seeds(study.methods),
            repeats=most_repeats(study.methods),
            over_seeds=over_seeds(study.methods),
            beside_intervals=beside_intervals(study.methods),
            limits=[RESEARCH_ONLY, *study_limits(study)],
            saw_images=saw_images(study),
            borrowed={name: start for name in names if (start := borrowed_weights(study, name))},
            plotly=Markup(_packed_plotly()),
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
    environment.filters["p_value"] = p_value
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
    """Strips of target, its part not hidden, and prediction by method, one entry per scale."""
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


def _views(study: Study, findings: list[TaskFinding]) -> dict[str, list[TaskView]]:
    """Views of every task by section; a task of which a section has nothing to show is absent."""
    makers = {
        "calibration": calibration_view,
        "subgroups": subgroup_view,
        "label_efficiency": label_view,
    }
    found = {
        section: [make(study.methods, item, place) for place, item in enumerate(findings)]
        for section, make in makers.items()
    }
    return {section: [view for view in views if view] for section, views in found.items()}


def _charts_of(views: Mapping[str, list[TaskView]]) -> dict[str, Figure]:
    return {
        name: figure
        for section in views.values()
        for view in section
        for name, figure in view.charts.items()
    }


def _encoders(methods: Mapping[str, MethodResult]) -> dict[str, str]:
    """Digest of the encoder behind each method's figures, where it was told."""
    found = {name: result.metrics.get("features", {}) for name, result in methods.items()}
    return {name: origin["encoder"] for name, origin in found.items() if "encoder" in origin}


@cache
def _packed_plotly() -> str:
    """The library of the charts, compressed to two fifths; the browser unpacks it."""
    return base64.b64encode(gzip.compress(get_plotlyjs().encode(), mtime=0)).decode("ascii")


def _board(leaderboard: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows of the leaderboard with the words of their figures."""
    return [
        {
            **{str(name): value for name, value in row.items()},
            "label": metric_label(row["metric"]),
            "better": metric_direction(row["metric"]),
            "main": row["metric"] in MAIN_METRICS,
        }
        for row in leaderboard.to_dict("records")
    ]


def _outside_interval(leaderboard: pd.DataFrame) -> list[str]:
    """Figures, in words, of which an estimate lies beside its own interval."""
    estimate = leaderboard["estimate"]
    outside = (estimate < leaderboard["lower"]) | (estimate > leaderboard["upper"])
    return [metric_label(name) for name in dict.fromkeys(leaderboard.loc[outside, "metric"])]


def _paper(study: Study) -> PaperTable:
    metrics = {method: result.metrics for method, result in study.methods.items()}
    source = study.parameters.get("source")
    return paper_table(metrics, source=source, fine_tuned=study.fine_tuned)


def _charts(
    study: Study, losses: list[str], curves: list[dict[str, Any]], costs: pd.DataFrame | None
) -> dict[str, Any]:
    """All charts by the id of their place on the page, as plain JSON values."""
    histories = {method: result.history for method, result in study.methods.items()}
    figures = {f"loss-{place}": loss_comparison(histories, n) for place, n in enumerate(losses)}
    figures["leaderboard-chart"] = leaderboard_figure(study.leaderboard)
    for place, task in enumerate(curves):
        for index, item in enumerate((task, *task["classes"])):
            # The task as a whole, then its classes.
            figures[f"roc-{place}-{index}"] = item["roc"]
            figures[f"pr-{place}-{index}"] = item["precision_recall"]
    if costs is not None:
        figures["cost-chart"] = cost_figure(costs)
    return _plain(figures)


def _plain(figures: Mapping[str, Figure]) -> dict[str, Any]:
    """Charts as plain JSON values; the page brings its own light and dark theme."""
    return {
        name: json.loads(figure.update_layout(template="none").to_json())
        for name, figure in figures.items()
    }
