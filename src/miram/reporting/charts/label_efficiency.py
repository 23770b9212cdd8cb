"""How the main figure grows with the number of labeled patients."""

from collections.abc import Collection, Mapping
from typing import Any

import pandas as pd
from plotly.graph_objects import Figure, Scatter

from miram.reporting.charts.styles import MAIN_METRICS, method_style, metric_label
from miram.reporting.charts.training import TEMPLATE
from miram.reporting.facts.study import MethodResult
from miram.reporting.facts.tables import Table
from miram.reporting.facts.words import interval


def label_rows(methods: Mapping[str, MethodResult], task: str) -> pd.DataFrame:
    """Main figure by method and share of the training patients.

    Args:
        methods: Results by method, with their tables of label efficiency.
        task: Name of the task.

    Returns:
        Rows of these tables with their `method`; empty where it was not measured. A share of
        which no draw had anything to learn from has no row.
    """
    table = _joined(methods)
    return table[(table["task"] == task) & table["metric"].isin(MAIN_METRICS)]


def tasks_without_draws(methods: Mapping[str, MethodResult]) -> list[str]:
    """Tasks that were measured, but of which no share had a draw to learn from.

    Args:
        methods: Results by method, with their tables of label efficiency.
    """
    tasks = dict.fromkeys(_joined(methods)["task"])
    return [str(task) for task in tasks if label_rows(methods, str(task)).empty]


def _joined(methods: Mapping[str, MethodResult]) -> pd.DataFrame:
    parts = [
        result.label_efficiency.assign(method=name)
        for name, result in methods.items()
        if not result.label_efficiency.empty
    ]
    if not parts:
        return pd.DataFrame(columns=["method", "task", "metric"])
    return pd.concat(parts, ignore_index=True)


def label_figure(rows: pd.DataFrame, shown: Collection[str]) -> Figure:
    """Draw the main figure over the number of training patients.

    Args:
        rows: Table of `label_rows`.
        shown: Methods that are drawn at once; the others wait in the legend.
    """
    figure = Figure()
    for method, here in rows.groupby("method", sort=False):
        figure.add_trace(_curve(str(method), here, visible=method in shown))
    patients = rows.drop_duplicates("share").sort_values("share")["training_patients"]
    figure.update_xaxes(
        type="log",
        title="training patients (logarithmic)",
        tickvals=patients.tolist(),
        ticktext=[f"{value:.0f}" for value in patients],
    )
    figure.update_yaxes(title=metric_label(rows["metric"].iloc[0]))
    return figure.update_layout(
        template=TEMPLATE,
        showlegend=True,
        legend={"orientation": "h", "yanchor": "top", "y": -0.25},
        margin={"t": 16, "r": 16, "b": 16, "l": 16},
        height=440,
    )


def label_table(rows: pd.DataFrame) -> Table:
    """The rows with what was learned from and judged on.

    Args:
        rows: Table of `label_rows`.
    """
    heads = (
        "Method",
        "Share",
        "Training patients",
        "Training lesions",
        "Estimate",
        "95 % of draws",
        "Draws",
        "Lesions judged",
        "Patients judged",
    )
    return Table(heads, tuple(_cells(row) for row in rows.itertuples()))


def _curve(method: str, rows: pd.DataFrame, *, visible: bool) -> Scatter:
    style = method_style(method)
    return Scatter(
        x=rows["training_patients"].tolist(),
        y=rows["estimate"].round(4).tolist(),
        error_y={
            "type": "data",
            "symmetric": False,
            "array": (rows["upper"] - rows["estimate"]).round(4).tolist(),
            "arrayminus": (rows["estimate"] - rows["lower"]).round(4).tolist(),
            "thickness": 1,
            "width": 3,
        },
        mode="lines+markers",
        line={"color": style.color, "dash": style.dash, "width": 2},
        marker={"symbol": style.symbol, "size": 8},
        name=method,
        visible=True if visible else "legendonly",
        text=[
            f"{row.estimate:.3f} ({interval(row.lower, row.upper)})<br>{row.training_patients:.0f} "
            f"training patients, {row.draws:.0f} draws"
            for row in rows.itertuples()
        ],
        hovertemplate="%{text}<extra>" + method + "</extra>",
    )


def _cells(row: Any) -> tuple[Any, ...]:
    single = row.draws < 2
    return (
        row.method,
        f"{100 * row.share:g} %",
        round(row.training_patients),
        round(row.training_lesions),
        float(row.estimate),
        "one draw" if single else interval(row.lower, row.upper),
        int(row.draws),
        int(row.lesions),
        int(row.patients),
    )
