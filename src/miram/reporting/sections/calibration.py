"""Do probabilities mean what they say: reliability curves and calibration metrics."""

from collections.abc import Collection, Mapping
from typing import Any

import pandas as pd
from plotly.graph_objects import Figure, Scatter

from miram.reporting.charts.drawing import error_bars, grey_line, sentence, unit_square
from miram.reporting.facts.findings import study_findings
from miram.reporting.facts.study import MethodResult, Study
from miram.reporting.facts.words import Table, interval, with_interval
from miram.reporting.sections.section import Section
from miram.reporting.styles import method_style, metric_label

SCALINGS = {"none": "as predicted by the probe", "temperature": "after temperature scaling"}
_METRICS = ("ece", "brier", "log_loss")


class Calibration(Section):
    """Reliability curves before and after temperature scaling, and the metrics of all methods."""

    title = "Calibration"
    template = "calibration.html"

    def data(self, study: Study) -> dict[str, Any]:
        """Every task with its tables, and the charts."""
        views, charts = [], {}
        for place, finding in enumerate(study_findings(study)):
            task = finding.task
            for scaling in SCALINGS:
                charts[f"calibration-{place}-{scaling}"] = reliability_figure(
                    study.methods, task, scaling, finding.drawn
                )
            views.append(
                {
                    "finding": finding,
                    "table": calibration_table(study.methods, task),
                    "bins": bin_table(study.methods, task),
                }
            )
        return {"views": views, "charts": charts}


def reliability_figure(
    methods: Mapping[str, MethodResult], task: str, scaling: str, shown: Collection[str]
) -> Figure:
    """Draw observed frequency against predicted probability with 95 % intervals.

    Args:
        methods: Results by method, with their calibration tables.
        task: Name of the task.
        scaling: `none` or `temperature`.
        shown: Methods that are drawn at once; the others can be chosen in the legend.

    Returns:
        A chart; a sentence where there is no curve.
    """
    curves = {method: _rows(item.calibration, task, scaling) for method, item in methods.items()}
    if all(rows.empty for rows in curves.values()):
        return sentence("No reliability curve was saved.")
    figure = Figure()
    for method, rows in curves.items():
        if not rows.empty:
            figure.add_trace(_curve(method, rows, visible=method in shown))
    grey_line(figure, (0, 1), "perfectly calibrated")
    return unit_square(figure, "predicted probability", "observed frequency")


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
    """Every bin of the reliability curves of all methods."""
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


def _curve(method: str, rows: pd.DataFrame, *, visible: bool) -> Scatter:
    style = method_style(method)
    words = [
        f"{method}: predicted {row.confidence:.3f}, observed {row.frequency:.3f} "
        f"({row.lower:.3f} to {row.upper:.3f})<br>{row.answers} answers, {row.patients} patients"
        for row in rows.itertuples()
    ]
    return Scatter(
        x=rows["confidence"].round(4).tolist(),
        y=rows["frequency"].round(4).tolist(),
        error_y=error_bars(rows.round(4), "frequency", thickness=1, width=2),
        mode="markers",  # a line through bins of a few lesions would draw noise
        marker={"color": style.color, "symbol": style.symbol, "size": 8},
        name=method,
        visible=True if visible else "legendonly",
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
