"""Does a figure hold in every subgroup: a chart of two methods, and the table behind it."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from plotly.graph_objects import Figure

from miram.evaluation.statistics.subgroups import TOO_FEW
from miram.reporting.charts.styles import MAIN_METRICS, method_style
from miram.reporting.charts.training import TEMPLATE, sentence
from miram.reporting.facts.study import MethodResult
from miram.reporting.facts.tables import Table
from miram.reporting.facts.words import counted, interval, number, p_value

_NAMES = {"abnormality_type": "type", "laterality": "side"}
_ROW_HEIGHT = 44  # pixels per subgroup: two lines of text


def subgroup_rows(
    methods: Mapping[str, MethodResult], task: str, names: Sequence[str]
) -> pd.DataFrame:
    """Main figure of some methods in every subgroup of a task.

    Args:
        methods: Results by method, with their subgroup tables.
        task: Name of the task.
        names: Methods wanted.

    Returns:
        Rows of the subgroup tables with their `method`, of one subgroup one below the other.
    """
    parts = [
        methods[name].subgroups.assign(method=name)
        for name in names
        if not methods[name].subgroups.empty
    ]
    if not parts:
        return pd.DataFrame(columns=["subgroup", "value", "method"])
    table = pd.concat(parts, ignore_index=True)
    table = table[(table["task"] == task) & table["metric"].isin(MAIN_METRICS)]
    order = {key: place for place, key in enumerate(_keys(table))}
    return table.iloc[np.argsort([order[key] for key in _pairs(table)], kind="stable")]


def subgroup_figure(rows: pd.DataFrame) -> Figure:
    """Draw the main figure with its 95 % interval in every subgroup.

    Args:
        rows: Table of `subgroup_rows`. Subgroups of fewer patients than a verdict needs get an
            open mark; those without an interval are left out: they lack a class, or have too
            few patients.
    """
    rows = rows[rows["lower"].notna()]
    if rows.empty:
        return sentence("Every subgroup lacks a class of this task, or has too few patients.")
    places = {key: place for place, key in enumerate(_keys(rows))}
    methods = list(dict.fromkeys(rows["method"]))
    figure = Figure()
    for number_of, method in enumerate(methods):
        here = rows[rows["method"] == method]
        # One beside the other within a row.
        shift = 0.26 * (number_of - (len(methods) - 1) / 2)
        y = [places[key] + shift for key in _keys(here)]
        figure.add_scatter(x=here["estimate"].tolist(), y=y, **_marks(method, here))
    figure.add_vline(x=0.5, line={"dash": "dot", "width": 1, "color": "#888"})
    labels = [_label(row) for row in rows.drop_duplicates(["subgroup", "value"]).itertuples()]
    figure.update_xaxes(range=[-0.02, 1.02], title="ROC AUC, 95 % interval")
    figure.update_yaxes(
        tickvals=list(places.values()), ticktext=labels, range=[len(places) - 0.4, -0.6]
    )
    return figure.update_layout(
        template=TEMPLATE,
        legend={"orientation": "h", "yanchor": "bottom", "y": 1},
        margin={"t": 40, "r": 16, "b": 50, "l": 16},
        height=100 + _ROW_HEIGHT * len(places),
    )


def subgroup_table(rows: pd.DataFrame) -> Table:
    """The rows with numbers of lesions and patients, intervals and verdicts.

    Args:
        rows: Table of `subgroup_rows`.
    """
    heads = (
        "Subgroup",
        "Method",
        "Lesions",
        "Patients",
        "Estimate",
        "95 % interval",
        "Verdict",
        "Difference from the others",
        "p, Holm",
    )
    return Table(heads, tuple(_cells(row) for row in rows.itertuples()))


def _keys(rows: pd.DataFrame) -> list[tuple[str, str]]:
    """Subgroups in the order of the rows, each once."""
    return list(dict.fromkeys(_pairs(rows)))


def _pairs(rows: pd.DataFrame) -> list[tuple[str, str]]:
    return list(zip(rows["subgroup"], rows["value"], strict=True))


def _name(row: Any) -> str:
    return f"{_NAMES.get(row.subgroup, row.subgroup)}: {row.value}"


def _label(row: Any) -> str:
    size = f"{counted(int(row.lesions), 'lesion')}, {counted(int(row.patients), 'patient')}"
    return f"{_escaped(_name(row))}<br><sub>{size}</sub>"


def _escaped(text: str) -> str:
    """Plotly takes a few tags in text; values of a table are none."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _marks(method: str, rows: pd.DataFrame) -> dict[str, Any]:
    style = method_style(method)
    few = rows["verdict"].eq(TOO_FEW)
    return {
        "error_x": {
            "type": "data",
            "symmetric": False,
            "array": (rows["upper"] - rows["estimate"]).tolist(),
            "arrayminus": (rows["estimate"] - rows["lower"]).tolist(),
            "thickness": 2,
        },
        "mode": "markers",
        "marker": {
            "color": style.color,
            "symbol": [style.symbol + ("-open" if here else "") for here in few],
            "size": 9,
        },
        "name": method,
        "text": [
            f"{_escaped(_name(row))}: {number(row.estimate)} ({interval(row.lower, row.upper)})"
            f"<br>{row.lesions} lesions, {row.patients} patients: {row.verdict}"
            for row in rows.itertuples()
        ],
        "hovertemplate": "%{text}<extra>" + method + "</extra>",
    }


def _cells(row: Any) -> tuple[Any, ...]:
    difference = ""
    if np.isfinite(row.difference):
        ends = interval(row.difference_lower, row.difference_upper)
        difference = f"{number(row.difference)} ({ends})"
    return (
        _name(row),
        row.method,
        int(row.lesions),
        int(row.patients),
        float(row.estimate) if np.isfinite(row.lower) else None,
        interval(row.lower, row.upper),
        row.verdict,
        difference,
        p_value(row.p_holm) if np.isfinite(row.p_holm) else None,
    )
