"""Do probabilities mean what they say: reliability curves and calibration figures of a task."""

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import pandas as pd
from plotly.graph_objects import Figure, Scatter

from miram.reporting.charts.styles import method_style, metric_label
from miram.reporting.charts.training import TEMPLATE, sentence
from miram.reporting.facts.study import MethodResult
from miram.reporting.facts.tables import Table
from miram.reporting.facts.words import interval, number

SCALINGS = {"none": "as the probe states them", "temperature": "after temperature scaling"}
_FIGURES = ("ece", "brier", "log_loss")


def reliability_figure(
    methods: Mapping[str, MethodResult], task: str, scaling: str, shown: Collection[str]
) -> Figure:
    """Draw observed frequency against stated probability with 95 % intervals.

    Args:
        methods: Results by method, with their calibration tables.
        task: Name of the task.
        scaling: `none` or `temperature`.
        shown: Methods that are drawn at once; the others wait in the legend.

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
    diagonal = {"mode": "lines", "line": {"color": "#888888", "width": 1}, "hoverinfo": "skip"}
    figure.add_scatter(x=[0, 1], y=[0, 1], name="perfectly calibrated", **diagonal)
    axis = {"range": [-0.03, 1.03], "constrain": "domain"}
    return figure.update_layout(
        template=TEMPLATE,
        xaxis={"title": "stated probability", **axis},
        yaxis={"title": "observed frequency", "scaleanchor": "x", **axis},
        legend={"orientation": "h", "yanchor": "top", "y": -0.16},
        margin={"t": 16, "r": 16, "b": 16, "l": 16},
        height=560,
    )


def calibration_table(methods: Mapping[str, MethodResult], task: str) -> Table:
    """Calibration figures with intervals, before and after the probe's temperature.

    Args:
        methods: Results by method.
        task: Name of the task.

    Returns:
        One row per method that answered the task.
    """
    heads = [
        f"{metric_label(name)}, {when}" for name in _FIGURES for when in ("stated", "after scaling")
    ]
    rows = [
        (method, *_cells(result.metrics["tasks"][task]))
        for method, result in methods.items()
        if task in result.metrics["tasks"]
    ]
    return Table(("Method", "Lesions", "Patients", "Temperature", *heads), tuple(rows))


def bin_table(methods: Mapping[str, MethodResult], task: str) -> Table:
    """Every bin of the reliability curves of all methods.

    Args:
        methods: Results by method, with their calibration tables.
        task: Name of the task.
    """
    heads = ("Method", "Scaling", "Stated", "Observed", "95 % interval", "Answers", "Patients")
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
        f"{method}: stated {row.confidence:.3f}, observed {row.frequency:.3f} "
        f"({row.lower:.3f} to {row.upper:.3f})<br>{row.answers} answers, {row.patients} patients"
        for row in rows.itertuples()
    ]
    frequency = rows["frequency"]
    return Scatter(
        x=rows["confidence"].round(4).tolist(),
        y=frequency.round(4).tolist(),
        error_y={
            "type": "data",
            "symmetric": False,
            "array": (rows["upper"] - frequency).round(4).tolist(),
            "arrayminus": (frequency - rows["lower"]).round(4).tolist(),
            "thickness": 1,
            "width": 2,
        },
        mode="markers",  # a line through bins of a few lesions would draw noise
        marker={"color": style.color, "symbol": style.symbol, "size": 8},
        name=method,
        visible=True if visible else "legendonly",
        text=words,
        hovertemplate="%{text}<extra></extra>",
    )


def _cells(entry: Mapping[str, Any]) -> tuple[Any, ...]:
    stated, scaled = entry["metrics"], entry["calibration"]["metrics"]
    parts = (part[name] for name in _FIGURES for part in (stated, scaled))
    temperatures = np.asarray(entry["calibration"]["temperatures"], float)
    return (
        entry["lesions"],
        entry["patients"],
        _spread(temperatures),
        *(f"{number(one['estimate'])} ({interval(one['lower'], one['upper'])})" for one in parts),
    )


def _spread(values: Any) -> str:
    """One temperature, or the lowest and the highest of several folds."""
    if not len(values):
        return ""
    low, high = f"{values.min():.2f}", f"{values.max():.2f}"
    return low if low == high else f"{low} to {high}"
