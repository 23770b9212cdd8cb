"""Do probabilities mean what they say: reliability curves and calibration metrics."""

from collections.abc import Mapping
from typing import Any

import pandas as pd
from plotly.graph_objects import Figure, Scatter
from plotly.subplots import make_subplots

from miram.reporting.charts.drawing import GREY, MARGIN, error_bars, sentence
from miram.reporting.facts.findings import study_findings
from miram.reporting.facts.study import MethodResult, Study
from miram.reporting.facts.words import Table, counted, interval, with_interval
from miram.reporting.sections.section import Section
from miram.reporting.styles import method_style, metric_label

SCALINGS = {"none": "as predicted by the probe", "temperature": "after temperature scaling"}
_METRICS = ("ece", "brier", "log_loss")


class Calibration(Section):
    """Reliability curves before and after temperature scaling, and the metrics of all methods."""

    title = "Calibration"
    template = "calibration.html"

    def applies(self, study: Study) -> bool:
        """Whether any task was evaluated."""
        return bool(study_findings(study))

    def data(self, study: Study) -> dict[str, Any]:
        """Every task with its tables, and the charts."""
        views, charts = [], {}
        for place, finding in enumerate(study_findings(study)):
            task = finding.task
            names = {f"calibration-{place}-{index}": one for index, one in enumerate(finding.drawn)}
            for chart, method in names.items():
                charts[chart] = reliability_figure(method, study.methods[method], task)
            views.append(
                {
                    "finding": finding,
                    "charts": names,
                    "table": calibration_table(study.methods, task),
                    "bins": bin_table({one: study.methods[one] for one in finding.drawn}, task),
                }
            )
        first = study_findings(study)[0]
        method = first.drawn[0]
        entry = study.methods[method].metrics["tasks"][first.task]
        before, after = (one["metrics"]["brier"] for one in (entry, entry["calibration"]))
        line = (
            f"{method} on {first.task}: Brier score {with_interval(before)} as predicted, "
            f"{with_interval(after)} after scaling, {counted(first.patients, 'patient')}"
        )
        return {"views": views, "charts": charts, "line": line}


def reliability_figure(method: str, result: MethodResult, task: str) -> Figure:
    """Draw observed frequency against predicted probability with 95 % intervals.

    Two panels, before and after temperature scaling, share their axes.
    """
    curves = {scaling: _rows(result.calibration, task, scaling) for scaling in SCALINGS}
    if all(rows.empty for rows in curves.values()):
        return sentence("No reliability curve was saved.")
    figure = make_subplots(
        rows=1,
        cols=2,
        shared_yaxes=True,
        horizontal_spacing=0.04,
        subplot_titles=["as predicted", "temperature scaled"],
    )
    for column, rows in enumerate(curves.values(), start=1):
        line = {"color": GREY, "width": 1}
        figure.add_scatter(
            x=[0, 1], y=[0, 1], mode="lines", line=line, hoverinfo="skip", row=1, col=column
        )
        if not rows.empty:
            figure.add_trace(_curve(method, rows), row=1, col=column)
    figure.update_xaxes(range=[-0.03, 1.03], title="probability")
    figure.update_yaxes(range=[-0.03, 1.03])
    figure.update_yaxes(title="observed frequency", row=1, col=1)
    figure.update_annotations(font_size=13)
    return figure.update_layout(showlegend=False, margin={**MARGIN, "t": 28}, height=340)


def calibration_table(methods: Mapping[str, MethodResult], task: str) -> Table:
    """Calibration metrics with intervals before and after scaling, a row per method."""
    heads = [
        f"{metric_label(name)}, {when}"
        for name in _METRICS
        for when in ("as predicted", "after scaling")
    ]
    rows = [
        (method, *_cells(result.metrics["tasks"][task]))
        for method, result in methods.items()
        if task in result.metrics["tasks"]
    ]
    return Table(("Method", "Lesions", "Patients", "Temperature", *heads), tuple(rows))


def bin_table(methods: Mapping[str, MethodResult], task: str) -> Table:
    """Every bin of the reliability curves of some methods."""
    heads = ("Method", "Scaling", "Predicted", "Observed", "95 % interval", "Answers", "Patients")
    rows = [
        (
            method,
            words,
            float(row.confidence),
            float(row.frequency),
            interval(row.lower, row.upper),
            int(row.answers),
            int(row.patients),
        )
        for method, item in methods.items()
        for scaling, words in SCALINGS.items()
        for row in _rows(item.calibration, task, scaling).itertuples()
    ]
    return Table(heads, tuple(rows))


def _rows(calibration: pd.DataFrame, task: str, scaling: str) -> pd.DataFrame:
    if calibration.empty:
        return calibration
    return calibration[(calibration["task"] == task) & (calibration["scaling"] == scaling)]


def _curve(method: str, rows: pd.DataFrame) -> Scatter:
    style = method_style(method)
    words = [
        f"{method}: predicted {row.confidence:.3f}, observed {row.frequency:.3f} "
        f"({row.lower:.3f} to {row.upper:.3f})<br>{row.answers} answers, {row.patients} patients"
        for row in rows.itertuples()
    ]
    return Scatter(
        x=rows["confidence"].round(4).tolist(),
        y=rows["frequency"].round(4).tolist(),
        error_y=error_bars(rows.round(4), "frequency", thickness=1.5, width=0),
        mode="markers",  # a line through bins of a few lesions would draw noise
        marker={"color": style.color, "symbol": style.symbol, "size": 8},
        name=method,
        text=words,
        hovertemplate="%{text}<extra></extra>",
    )


def _cells(entry: Mapping[str, Any]) -> tuple[Any, ...]:
    predicted, scaled = entry["metrics"], entry["calibration"]["metrics"]
    metrics = [with_interval(part[name]) for name in _METRICS for part in (predicted, scaled)]
    # One temperature, or the lowest and the highest of several folds.
    ends = sorted(entry["calibration"]["temperatures"])
    spread = dict.fromkeys(f"{value:.2f}" for value in (ends[0], ends[-1])) if ends else ()
    return entry["lesions"], entry["patients"], " to ".join(spread), *metrics
